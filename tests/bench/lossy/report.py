#!/usr/bin/env python3
"""What the matrix of lossy links gave: tables in Markdown, plots in SVG.

    report.py table FILE.tsv
    report.py plot FILE.tsv         writes FILE-RATE-RTT-FLOWS-CC.svg for each load of FILE (needs gnuplot)

Of each cell it takes the newest version of the peer, and of that the median of all runs. What vpnd must reach on the
native wire stands in FLOORS; a figure that falls short is marked with !
"""
import csv
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from figures import figure, median, number, values, with_range  # noqa: E402

PEERS = ["none", "wireguard-go", "kcptun", "native", "kcp-go"]
LABELS = {"none": "no tunnel", "native": "vpnd, native wire", "kcp-go": "vpnd, kcp-go wire"}
COLOURS = {"none": "#888888", "wireguard-go": "#b8860b", "kcptun": "#c03030", "native": "#1060c0", "kcp-go": "#209060"}

# Shares of (1 - loss) x rate, by RTT.
GOODPUT_FLOORS = {
    20: {"0": .90, "5": .85, "20": .75},
    60: {"0": .88, "1": .84, "3": .82, "5": .80, "10": .78, "20": .75, "30": .72, "5/10ms": .68},
    200: {"0": .83, "5": .77, "20": .74},
}
# The light flow at RTT 20 and 60: milliseconds over idle, and percent lost or late.
DELAY_FLOORS = {"0": 10, "1": 12, "5": 15, "10": 18, "20": 25, "30": 45}
MISSED_FLOORS = {"0": 0, "1": 0, "3": 0, "5": .1, "10": .1, "20": .1, "30": .3}
# Percent of wire bytes over the bytes of the packets that came out.
OVERHEAD_FLOORS = {"0": 8, "1": 13, "5": 22, "10": 34, "20": 60, "30": 90}


def loss_share(loss):
    return float(loss.split("/")[0]) / 100


def loss_order(loss):
    return ("/" in loss, float(loss.split("/")[0]), loss)


def loss_label(loss):
    if "/" not in loss:
        return loss + " %"
    mean, length = loss.split("/")
    return "%s %% in bursts of %s" % (mean, length)


def read(path):
    """{load: {(peer, loss): [rows of the newest version]}}; a load is (rate, rtt, flows, cc)"""
    loads = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            load = (int(row["rate_mbps"]), int(row["rtt_ms"]), int(row["flows"]), row["cc"])
            cells = loads.setdefault(load, {})
            rows = cells.setdefault((row["peer"], row["loss"]), [])
            if rows and rows[-1]["version"] != row["version"]:
                rows.clear()
            rows.append(row)
    return loads


def over_idle(rows, column="delay_p99_ms"):
    """Milliseconds over the same run's idle link."""
    found = [v - i for v, i in ((number(r[column]), number(r["idle_ms"])) for r in rows)
             if v is not None and i is not None]
    return statistics.median(found) if found else None


def missed_percent(rows):
    sent = sum(values(rows, "light_sent"))
    return (sum(values(rows, "light_lost")) + sum(values(rows, "light_late"))) / sent * 100 if sent else None


def mark(text, peer, value, floor, at_least=False):
    if peer != "native" or floor is None or value is None:
        return text
    return text + (" !" if (value < floor if at_least else value > floor) else "")


def goodput_cell(rows, peer, load, loss):
    value = median(rows, "goodput_mbps")
    if value is None:
        return "-"
    share = GOODPUT_FLOORS.get(load[1], {}).get(loss)
    floor = share * (1 - loss_share(loss)) * load[0] if share else None
    return mark(with_range(values(rows, "goodput_mbps")), peer, value, floor, at_least=True)


def delay_cell(rows, peer, load, loss):
    p99 = over_idle(rows)
    floor = DELAY_FLOORS.get(loss) if load[1] in (20, 60) else None
    return mark("%s / %s" % (figure(over_idle(rows, "delay_p50_ms")), figure(p99)), peer, p99, floor)


def missed_cell(rows, peer, load, loss):
    missed = missed_percent(rows)
    floor = MISSED_FLOORS.get(loss) if load[1] in (20, 60) else None
    return mark(figure(missed), peer, missed, floor)


def echo_cell(rows, peer, load, loss):
    return "%s / %s" % (figure(median(rows, "echo_p50_ms")), figure(median(rows, "echo_p99_ms")))


def overhead_cell(rows, peer, load, loss):
    inner = median(rows, "overhead_inner_pct")
    text = figure(median(rows, "overhead_pct"))
    if inner is not None:
        text += " (%s)" % figure(inner)
    return mark(text, peer, inner, OVERHEAD_FLOORS.get(loss))


def cpu_cell(rows, peer, load, loss):
    return "-" if peer == "none" else figure(median(rows, "cpu_s_per_gb"))


TABLES = [
    ("Goodput, Mb/s", goodput_cell),
    ("Light flow, one way, ms over the idle link, p50 / p99", delay_cell),
    ("Light flow, lost or later than 150 ms, %", missed_cell),
    ("Light flow, there and back, ms, p50 / p99", echo_cell),
    ("Bytes on the wire over TCP payload, and (over the packets that came out), % more", overhead_cell),
    ("CPU of both daemons, s per GB of payload", cpu_cell),
]


def peers_of(cells):
    found = {peer for peer, _ in cells}
    return [p for p in PEERS if p in found] + sorted(found - set(PEERS))


def losses_of(cells):
    return sorted({loss for _, loss in cells}, key=loss_order)


def flows_text(flows, cc):
    return "%d %s flow%s" % (flows, cc, "" if flows == 1 else "s")


def print_tables(loads):
    for load in sorted(loads):
        rate, rtt, flows, cc = load
        cells = loads[load]
        losses = losses_of(cells)
        rows = [row for found in cells.values() for row in found]
        runs = max(len(found) for found in cells.values())
        seconds = sorted({row["seconds"] for row in rows}, key=int)
        print("\n### %d Mb/s, RTT %d ms, %s and the light flow" % (rate, rtt, flows_text(flows, cc)))
        print("\n%s; %s s a cell, %s\n" % (
            " to ".join(sorted({min(r["date"] for r in rows)[:10], max(r["date"] for r in rows)[:10]})),
            ", ".join(seconds), "one run" if runs == 1 else "median of up to %d runs (range)" % runs))
        for title, cell in TABLES:
            print("| %s | %s |" % (title, " | ".join(loss_label(loss) for loss in losses)))
            print("|---|" + "---:|" * len(losses))
            for peer in peers_of(cells):
                print("| %s | %s |" % (LABELS.get(peer, peer), " | ".join(
                    cell(cells[peer, loss], peer, load, loss) if (peer, loss) in cells else "" for loss in losses)))
            print()
    versions = {}
    for cells in loads.values():
        for (peer, _), rows in cells.items():
            versions.setdefault(peer, set()).add(rows[-1]["version"])
    print("Versions: " + "; ".join("%s %s" % (LABELS.get(p, p), ", ".join(sorted(versions[p])))
                                   for p in peers_of({(p, "") for p in versions})))
    print("Commits: " + ", ".join(sorted({row["commit"] for cells in loads.values() for (peer, _), rows in cells.items()
                                         for row in rows if peer in ("native", "kcp-go")})))
    print("Marked with !: short of what the native wire is to reach.")
    notes = sorted({"%s: %s" % (row["peer"], row["note"]) for cells in loads.values() for rows in cells.values()
                    for row in rows if row["note"] != "-"})
    for note in notes:
        print("Note, " + note)


def plot_script(load, cells, path):
    rate, rtt, flows, cc = load
    losses = [loss for loss in losses_of(cells) if "/" not in loss]
    panels = [
        ("goodput of TCP, Mb/s", "unset logscale; set yrange [0:%d]" % rate, lambda rows: median(rows, "goodput_mbps")),
        ("light flow, there and back, p99, ms", "set logscale y; set yrange [*:*]",
         lambda rows: median(rows, "echo_p99_ms")),
        ("light flow, lost or later than 150 ms, %", "unset logscale; set yrange [0:*]", missed_percent),
    ]
    out = ["set terminal svg size 1500,520 font 'sans,13' background '#ffffff'",
           "set output '%s'" % path.replace("'", "''"),
           "set multiplot layout 1,3 title '%d Mb/s, RTT %d ms, %s and a light flow'" % (
               rate, rtt, flows_text(flows, cc)),
           "set grid ytics lt 1 lw 1 lc rgb '#cccccc'", "set border 3", "set tics nomirror", "set key below horizontal",
           "set xlabel 'packets lost, each way, %'",
           "set xtics (%s)" % ", ".join("'%s' %d" % (loss, i) for i, loss in enumerate(losses)),
           "set xrange [-0.2:%g]" % (len(losses) - 0.8)]
    for panel, (title, axis, value) in enumerate(panels):
        plots = []
        for i, peer in enumerate(peers_of(cells)):
            points = [(at, value(cells[peer, loss])) for at, loss in enumerate(losses) if (peer, loss) in cells]
            points = ["%d %g" % point for point in points if point[1] is not None]
            if not points:
                continue
            out += ["$data_%d_%d << EOD" % (panel, i)] + points + ["EOD"]
            plots.append("$data_%d_%d with linespoints lw %d pt 7 ps 0.5 lc rgb '%s' title '%s'" % (
                panel, i, 3 if peer == "native" else 2, COLOURS.get(peer, "#000000"), LABELS.get(peer, peer)))
        if plots:
            out += ["set title '%s'; %s" % (title, axis), "plot " + ", ".join(plots)]
    out.append("unset multiplot")
    return "\n".join(out) + "\n"


def draw(loads, path):
    for load in sorted(loads):
        if all("/" in loss for loss in losses_of(loads[load])):
            continue
        svg = "%s-%dM-%dms-%dx%s.svg" % ((os.path.splitext(path)[0],) + load)
        subprocess.run(["gnuplot"], input=plot_script(load, loads[load], svg), text=True, check=True)
        print("plot: " + os.path.relpath(svg))


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("table", "plot"):
        sys.exit(__doc__)
    try:
        loads = read(sys.argv[2])
    except OSError as error:
        sys.exit("bench-lossy: %s: %s" % (sys.argv[2], error.strerror))
    if sys.argv[1] == "table":
        print_tables(loads)
    else:
        draw(loads, sys.argv[2])


main()
