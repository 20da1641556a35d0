#!/bin/bash
# profiles: release
# timeout: 180
# takes: 26 s, 6 s of CPU
#
# The bench of speed in short: cells of a second or two for a tunnel of ours and for a forwarder of connections. All
# figures are there and fit each other, the table shows them, and what is measured is not measured again. How good they
# are is the bench's own question, on a machine that does nothing else.
#
#     $NS_A  iperf3 -c, udp_rate, ping --- vpnd or kcptun === a pair of devices === vpnd or kcptun --- $NS_B
. "$(dirname "$0")/../bench/speed/lib_speed.sh"

is_number() { [[ ${CELL[$1]:-} =~ ^[0-9]+(\.[0-9]+)?$ ]]; }
tsv=$RUN_DIR/speed.tsv
tsv_begin "$tsv" "$(speed_head)"
speed_networks

cell() { # PEER LOAD COLUMN...: these, and what all cells have
	local peer=$1 load=$2 column missing=''
	shift 2
	check "$peer $load: measured (${CELL[note]:-})" speed_cell "$peer" "$load" 2
	CELL[run]=1
	speed_row >>"$tsv"
	for column in "$@" cpu_a_s cpu_b_s rss_a_kb rss_b_kb busy_pct others_pct; do
		is_number "$column" || missing+=" $column=${CELL[$column]:-}"
	done
	check "$peer $load: all figures are numbers${missing:+, but not$missing}" test -z "$missing"
	expect "$peer $load: a daemon's memory, KB, is not nothing" "${CELL[rss_a_kb]:-}" '>' 1000
	expect "$peer $load: others take no more of the machine than there is" "${CELL[others_pct]:-}" '<=' 100
}
pings() {
	expect "$1: half of the pings come back" "${CELL[pings_lost]:-}" '<=' "${CELL[pings]:-0} / 2"
	expect "$1: 99 of 100 take no less than half of them" "${CELL[rtt_p99_ms]:-}" '>=' "${CELL[rtt_p50_ms]:-}"
}
flow() {
	expect "$1: Mb/s are not nothing" "${CELL[mbps]:-}" '>' 0
	expect "$1: bytes fit the rate" "${CELL[bytes]:-}" '>' "${CELL[mbps]:-0} * 1e6 / 8 * 2 * 0.9"
	expect "$1: daemons take time" "${CELL[cpu_a_s]:-} + ${CELL[cpu_b_s]:-0}" '>' 0
}
packets() {
	expect "$1: packets came" "${CELL[packets]:-}" '>' 100
	expect "$1: bytes are packets" "${CELL[bytes]:-}" == "${CELL[packets]:-0} * $2"
	expect "$1: no more a second than there were" "${CELL[pps]:-}" '<=' "${CELL[packets]:-0}"
}

check "vpnd is up" native_start
cell native idle rtt_p50_ms rtt_p99_ms rtt_max_ms pings pings_lost
pings idle
cell native beside mbps retransmits bytes rtt_p50_ms rtt_p99_ms rtt_max_ms pings pings_lost
pings beside
flow beside
cell native tcp4 mbps retransmits bytes
flow tcp4
cell native udp64 pps packets lost_pct bytes
packets udp64 64
cell native udp1200-bunches pps packets lost_pct bytes
packets udp1200-bunches 1200
native_stop

SPEED_KCPTUN=$(kcptun_options)
check "kcptun is up" kcptun_start
cell kcptun idle rtt_p50_ms rtt_p99_ms pings pings_lost
pings "kcptun idle"
cell kcptun tcp1 mbps retransmits bytes
flow "kcptun tcp1"
kcptun_stop

speed_no_cell native tcp1 2 'the peer did not come up'
CELL[run]=1
speed_row >>"$tsv"
version=$(peer_version native)
check "a cell that is there is found" tsv_has "$tsv" "native $version tcp4 1 2" 3 4 5 6 7
check "a run that is not there is not" test -z "$(tsv_has "$tsv" "native $version tcp4 2 2" 3 4 5 6 7 && echo found)"
python3 "$ROOT/tests/bench/speed/report.py" "$tsv" >"$RUN_DIR/table.md" || fail "no table"
expect "tables with a row of vpnd" "$(grep -cF '| **vpnd, native wire** |' "$RUN_DIR/table.md")" == 3
expect "and of kcptun, which has no UDP" "$(grep -c '^| kcptun.* |' "$RUN_DIR/table.md")" == 2
expect "aims that can be judged without other tunnels" "$(grep -c '^| native, ' "$RUN_DIR/table.md")" '>=' 4
check "the table says what failed" grep -q 'native tcp1: the peer did not come up' "$RUN_DIR/table.md"
expect "cells that --list names for two peers" \
	"$("$ROOT/scripts/bench-speed" --list --peer native,kcptun --only '(tcp|udp)' | wc -l)" == 8
