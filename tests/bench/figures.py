"""Figures of the benches' TSV files: what a text says, medians of runs, how they are written down."""
import statistics


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def values(rows, column):
    return [v for v in (number(row[column]) for row in rows) if v is not None]


def median(rows, column):
    found = values(rows, column)
    return statistics.median(found) if found else None


def figure(value):
    if value is None:
        return "-"
    return "%.0f" % value if abs(value) >= 99.95 else "%.1f" % value if abs(value) >= 9.995 else "%.2f" % value


def with_range(found):
    """The median, and in brackets from which to which, if there are several."""
    if not found:
        return "-"
    text = figure(statistics.median(found))
    if len(found) > 1:
        text += " (%s-%s)" % (figure(min(found)), figure(max(found)))
    return text
