#!/usr/bin/env python3
"""What the bench of speed gave: tables in Markdown.

    report.py FILE.tsv      and FILE-stages.tsv beside it, where vpnd counted what its stages take

Of each cell it takes the newest version of the peer, and of that the median of all runs. What vpnd must reach stands in
aims(); a figure that falls short is marked with !
"""
import csv
import os
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from figures import figure, median, number, values, with_range  # noqa: E402

PEERS = ["none", "wireguard-go", "fastd", "fastd-umac", "openvpn", "nebula", "kcptun",
         "native", "native-fec", "native-sodium", "kcp-go"]
LABELS = {"none": "no tunnel", "fastd": "fastd, aes128-ctr+umac (its fastest)", "fastd-umac": "fastd, salsa2012+umac",
          "kcptun": "kcptun, salsa20, FEC 10/3", "native": "**vpnd, native wire**",
          "native-fec": "vpnd, native wire, FEC 10/3", "native-sodium": "vpnd, native wire, libsodium",
          "kcp-go": "vpnd, kcp-go wire, salsa20, FEC 10/3"}
# Payload of TCP with time stamps in an inner packet of 1400 bytes.
DATAGRAM_PAYLOAD_BYTES = 1348
# Of the machine, in percent; above it what was measured is the others' work as well.
OTHERS_TOLERATED = 5
ARQ_STAGES = ["send", "receive"]
UDP_LOADS = ["udp64", "udp64-bunches", "udp1200", "udp1200-bunches"]


def read(path):
    """{(peer, load): [rows of the newest version]}"""
    cells = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows = cells.setdefault((row["peer"], row["load"]), [])
            if rows and rows[-1]["version"] != row["version"]:
                rows.clear()
            rows.append(row)
    return cells


def each(rows, function):
    """The median over the runs of what `function` makes of a row; rows that lack a figure do not count."""
    found = []
    for row in rows:
        try:
            found.append(function(row))
        except (ValueError, ZeroDivisionError):
            pass
    return statistics.median(found) if found else None


class Bench:
    def __init__(self, cells):
        self.cells = cells
        self.peers = [p for p in PEERS if any(peer == p for peer, _ in cells)]

    def rows(self, peer, load):
        return self.cells.get((peer, load), [])

    def of(self, peer, load, column):
        return median(self.rows(peer, load), column)

    def times(self, peer, other, load, column="mbps"):
        ours, theirs = self.of(peer, load, column), self.of(other, load, column)
        return ours / theirs if ours is not None and theirs else None

    def seconds_a_gb(self, peer, load="tcp1"):
        return each(self.rows(peer, load),
                    lambda r: (float(r["cpu_a_s"]) + float(r["cpu_b_s"])) / float(r["bytes"]) * 1e9)

    def datagram_ns(self, peer, end, load="tcp1"):
        return each(self.rows(peer, load),
                    lambda r: float(r["cpu_%s_s" % end]) / (float(r["bytes"]) / DATAGRAM_PAYLOAD_BYTES) * 1e9)

    def packets_a_core(self, peer, load):
        """Packets for each second of CPU that the end takes which has more to do."""
        return each(self.rows(peer, load),
                    lambda r: float(r["packets"]) / max(float(r["cpu_a_s"]), float(r["cpu_b_s"])))

    def resident_mb(self, peer, end, load="tcp4"):
        kb = self.of(peer, load, "rss_%s_kb" % end)
        return kb / 1024 if kb is not None else None


def aims(bench, stages):
    """(text, value, aim, whether more is better)"""
    def larger(a, b):
        return max(a, b) if a is not None and b is not None else None

    def arq_ns(end):
        own = stages.get(("native", end))
        return sum(own.get(stage, 0) for stage in ARQ_STAGES) if own else None

    kcptun_cpu, kcp_go_cpu = bench.seconds_a_gb("kcptun"), bench.seconds_a_gb("kcp-go")
    return [
        ("native, 1 flow, times wireguard-go (floor 8)", bench.times("native", "wireguard-go", "tcp1"), 12, True),
        ("native, 1 flow, of no tunnel", bench.times("native", "none", "tcp1"), .13, True),
        ("native with FEC 10/3, 1 flow, times wireguard-go", bench.times("native-fec", "wireguard-go", "tcp1"), 9, True),
        ("native by libsodium, 1 flow, times wireguard-go",
         bench.times("native-sodium", "wireguard-go", "tcp1"), 6, True),
        ("native, sender, ns a datagram of 1400 bytes", bench.datagram_ns("native", "a"), 1200, False),
        ("native, receiver, ns a datagram of 1400 bytes", bench.datagram_ns("native", "b"), 1200, False),
        ("native, sender, of it ARQ and session, ns", arq_ns("a"), 150, False),
        ("native, receiver, of it ARQ and session, ns", arq_ns("b"), 150, False),
        ("native, 64-byte packets one by one, millions a second and core",
         mega(bench.packets_a_core("native", "udp64")), .7, True),
        ("native, 64-byte packets in bunches, millions a second", mega(bench.of("native", "udp64-bunches", "pps")), 4, True),
        ("native, ping beside a flow, p99, ms", bench.of("native", "beside", "rtt_p99_ms"), 4, False),
        ("native, idle ping, ms", bench.of("native", "idle", "rtt_p50_ms"), .15, False),
        ("native, resident, the larger end, MB",
         larger(bench.resident_mb("native", "a"), bench.resident_mb("native", "b")), 16, False),
        ("kcp-go wire, 1 flow, times kcptun", bench.times("kcp-go", "kcptun", "tcp1"), 5, True),
        ("kcp-go wire, CPU a GB, of kcptun's", kcp_go_cpu / kcptun_cpu if kcptun_cpu and kcp_go_cpu else None, 1, False),
    ]


def disturbed(rows):
    """A mark if others took part of the machine in at least half of the runs."""
    others = median(rows, "others_pct")
    return " ~" if others is not None and others > OTHERS_TOLERATED else ""


def mega(value):
    return value / 1e6 if value is not None else None


def fine(value):
    """Three digits also below one."""
    return figure(value) if value is None or value >= 1 else "%.3g" % value


def table(head, lines):
    print("| %s |" % " | ".join(head))
    print("|---|" + "--:|" * (len(head) - 1))
    for line in lines:
        print("| %s |" % " | ".join(line))
    print()


def label(peer):
    return LABELS.get(peer, peer)


def print_tcp(bench):
    head = ["TCP with reno, Mb/s"]
    for flows in ("1 flow", "4 flows"):
        head += [flows, "x wireguard-go", "of no tunnel"]
    head += ["CPU, s a GB", "ns a datagram, sender / receiver"]
    lines = []
    for peer in bench.peers:
        if not any(bench.rows(peer, load) for load in ("tcp1", "tcp4")):
            continue
        line = [label(peer)]
        for load in ("tcp1", "tcp4"):
            line += [with_range(values(bench.rows(peer, load), "mbps")) + disturbed(bench.rows(peer, load)),
                     fine(bench.times(peer, "wireguard-go", load)), fine(bench.times(peer, "none", load))]
        line += [fine(bench.seconds_a_gb(peer)),
                 "%s / %s" % (figure(bench.datagram_ns(peer, "a")), figure(bench.datagram_ns(peer, "b")))]
        lines.append(line)
    if not lines:
        return
    table(head, lines)
    print("CPU of the daemons with one flow: all processes, user and system; a datagram is what carries %d bytes of"
          " payload.\n" % DATAGRAM_PAYLOAD_BYTES)


def print_udp(bench):
    head = ["UDP, thousands of packets a second, delivered"]
    for load in UDP_LOADS:
        text = load[3:].split("-")[0] + " bytes" + (", bunches" if load.endswith("bunches") else "")
        head += [text, "x wireguard-go", "a core"]
    lines = []
    for peer in bench.peers:
        line = [label(peer)]
        for load in UDP_LOADS:
            core = bench.packets_a_core(peer, load)
            line += [with_range([v / 1e3 for v in values(bench.rows(peer, load), "pps")]) +
                     disturbed(bench.rows(peer, load)),
                     fine(bench.times(peer, "wireguard-go", load, "pps")), figure(core / 1e3 if core is not None else None)]
        if any(bench.rows(peer, load) for load in UDP_LOADS):
            lines.append(line)
    if not lines:
        return
    table(head, lines)
    print("Bunches: 64 packets a call with UDP_SEGMENT, received with UDP_GRO. A core: packets for each second of CPU of"
          " the daemon that takes more.\n")


def print_latency(bench):
    head = ["ms", "idle ping p50", "p99", "ping beside a flow p50", "p99", "max", "lost, %", "resident, MB, sender",
            "receiver"]
    lines = []
    for peer in bench.peers:
        if not any(bench.rows(peer, load) for load in ("idle", "beside", "tcp4")):
            continue
        lost = each(bench.rows(peer, "beside"), lambda r: float(r["pings_lost"]) / float(r["pings"]) * 100)
        lines.append([label(peer)] +
                     [fine(bench.of(peer, "idle", "rtt_%s_ms" % c)) for c in ("p50", "p99")] +
                     [fine(bench.of(peer, "beside", "rtt_%s_ms" % c)) for c in ("p50", "p99", "max")] +
                     [fine(lost) + disturbed(bench.rows(peer, "beside"))] + [figure(bench.resident_mb(peer, end)) for end in ("a", "b")])
    if not lines:
        return
    table(head, lines)
    print("Resident: after four flows, all processes of the end.\n")


def print_aims(bench, stages):
    lines = []
    for text, value, aim, more in aims(bench, stages):
        if value is not None:
            lines.append([text, fine(value), "%s %g" % (">=" if more else "<=", aim),
                          "" if (value >= aim if more else value <= aim) else "!"])
    if lines:
        table(["what vpnd is to reach", "reached", "aim", "short"], lines)


def read_stages(path, cells):
    """{(peer, end): {stage: ns a datagram}} of the newest version of each peer, medians of the runs"""
    found = {}
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                cell = cells.get((row["peer"], "stages"))
                datagrams = (number(row["bytes"]) or 0) / DATAGRAM_PAYLOAD_BYTES
                if datagrams and cell and cell[-1]["version"] == row["version"]:
                    stages = found.setdefault((row["peer"], row["end"]), {})
                    stages.setdefault(row["stage"], []).append(number(row["cpu_ns"]) / datagrams)
    except OSError:
        pass
    return {column: {stage: statistics.median(ns) for stage, ns in stages.items()} for column, stages in found.items()}


def print_stages(stages):
    if not stages:
        return
    columns = sorted(stages, key=lambda c: (PEERS.index(c[0]), c[1]))
    order = list(dict.fromkeys(stage for column in columns for stage in stages[column]))
    lines = [[stage] + [figure(stages[column].get(stage)) for column in columns] for stage in order]
    lines.append(["all"] + [figure(sum(stages[column].values())) for column in columns])
    table(["stage, ns a datagram, 1 flow"] + ["%s, %s" % (label(peer).strip("*"), "sender" if end == "a" else "receiver")
                                              for peer, end in columns], lines)
    print("Counted by the daemon itself in a run of its own; with acknowledgements and idle time in it.\n")


def print_notes(bench):
    rows = [row for found in bench.cells.values() for row in found]
    versions = {peer: found[-1]["version"] for (peer, _), found in bench.cells.items()}
    print("Versions: " + "; ".join("%s %s" % (label(p).strip("*"), versions[p]) for p in bench.peers))
    print("Commits: " + ", ".join(sorted({row["commit"] for row in rows})))
    others = values(rows, "others_pct")
    if others:
        print("Marked with !: short of the aim. Marked with ~: others took more than %d %% of the machine in half of the runs;"
              " it says little, but for CPU." % OTHERS_TOLERATED)
        print("Other processes and the host took %s %% of the machine while it measured (median; %s at most, above %d in %d of"
              " %d cells)." % (figure(statistics.median(others)), figure(max(others)), OTHERS_TOLERATED,
                               sum(v > OTHERS_TOLERATED for v in others), len(others)))
    for note in sorted({"%s %s: %s" % (row["peer"], row["load"], row["note"]) for row in rows if row["note"] != "-"}):
        print("Note, " + note)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        cells = read(sys.argv[1])
    except OSError as error:
        sys.exit("bench-speed: %s: %s" % (sys.argv[1], error.strerror))
    if not cells:
        sys.exit("bench-speed: %s: no cells" % sys.argv[1])
    bench = Bench(cells)
    rows = [row for found in cells.values() for row in found]
    runs = max(len(found) for found in cells.values())
    print("\n### Tunnels over a pair of devices, both ends and the load on the same %d cores\n" % os.cpu_count())
    print("%s to %s; %s s a cell, %s\n" % (min(r["date"] for r in rows)[:10], max(r["date"] for r in rows)[:10],
                                           ", ".join(sorted({r["seconds"] for r in rows}, key=int)),
                                           "one run" if runs == 1 else "median of up to %d runs (range)" % runs))
    print_tcp(bench)
    print_udp(bench)
    print_latency(bench)
    stages = read_stages(os.path.splitext(sys.argv[1])[0] + "-stages.tsv", cells)
    print_stages(stages)
    print_aims(bench, stages)
    print_notes(bench)


main()
