#!/bin/bash
# profiles: release
# timeout: 150
#
# The bench of lossy links in short: one cell of three seconds for a tunnel of ours and for a forwarder, so that packets
# and connections are both measured. All figures are there and fit each other, and the table shows them. How good they
# are is the bench's own question, on a machine that does nothing else.
#
#     $NS_A  iperf3 -c, light flow --- vpnd or kcptun === lab, 10 Mb/s, loses 2 % === vpnd or kcptun --- $NS_B
. "$(dirname "$0")/../bench/lossy/lib_lossy.sh"

is_number() { [[ ${CELL[$1]:-} =~ ^-?[0-9]+(\.[0-9]+)?$ ]]; }
tsv=$RUN_DIR/lossy.tsv
lossy_head >"$tsv"
lossy_networks

cell() { # PEER COLUMN_THAT_IS_NONE...
	local peer=$1 column missing=''
	check "$peer: the cell is measured" lossy_cell "$peer" 10 20 2 reno 2 3 7
	CELL[run]=1
	lossy_row >>"$tsv"
	for column in "${LOSSY_COLUMNS[@]}"; do
		[[ " date commit peer version cc note $* " == *" $column "* ]] || is_number "$column" || missing+=" $column=${CELL[$column]:-}"
	done
	check "$peer: all figures are numbers${missing:+, but not$missing}" test -z "$missing"
	expect "$peer: no note (${CELL[note]})" "${#CELL[note]}" == 0
	expect "$peer: goodput, Mb/s, is not nothing" "${CELL[goodput_mbps]}" '>' 0.1
	expect "$peer: nor more than the link carries" "${CELL[goodput_mbps]}" '<' 10
	expect "$peer: the idle link takes half an RTT" "${CELL[idle_ms]}" '>=' 10
	expect "$peer: the light flow was sent" "${CELL[light_sent]}" == 150
	expect "$peer: and came" "${CELL[light_lost]}" '<' 75
	expect "$peer: there and back takes longer than there" "${CELL[echo_p50_ms]}" '>' "${CELL[delay_p50_ms]}"
	expect "$peer: the wire carries more than the payload" "${CELL[overhead_pct]}" '>' 0
	expect "$peer: daemons take time" "${CELL[cpu_s]}" '>' 0
}
cell native
expect "native: inner headers are not overhead of the tunnel" "${CELL[overhead_inner_pct]}" '<' "${CELL[overhead_pct]}"
cell kcptun overhead_inner_pct
expect "kcptun: nothing of a connection is lost" "${CELL[light_lost]}" == 0

python3 "$ROOT/tests/bench/lossy/report.py" table "$tsv" >"$RUN_DIR/table.md" || fail "no table"
for row in 'vpnd, native wire' kcptun; do
	expect "the tables have rows of $row" "$(grep -c "^| $row | [0-9]" "$RUN_DIR/table.md")" == 6
done
