#!/bin/bash
# alone
# profiles: release
# timeout: 240
# takes: 48 s, 19 s of CPU
#
# Links that lose packets, a tenth of the bench in short: goodput of four CUBIC flows, what a call beside them hears, and a
# ping beside them where nothing is lost, at 20 Mb/s and a round trip of 60 ms with a queue of 100 ms.
#
#     $NS_A  4 x iperf3 -c, light flow, ping --- vpnd === lab, 20 Mb/s, 0, 5, 20 % lost each way === vpnd --- $NS_B
. "$(dirname "$0")/lib_rows.sh"

RATE=20 RTT=60 SECONDS_EACH=8

# Of so few messages one or two are lost by chance where one of a thousand may be: with 400 and a mean of 0.4 more than two
# are 0.8 %.
bad_most() { awk "BEGIN { mean = $1 * $SECONDS_EACH * 50; print (mean > 0 ? int(mean + 2 * sqrt(mean) + 0.5) : 0) }"; }

# What is measured begins when the connections have found their rate: of a short run the first second is not a tenth.
WARM=3

cell() { # LOSS GOODPUT P99 BAD OVERHEAD: percent; share of (1 - loss) x rate; ms added; share of messages; percent
	local percent=$1 light idle idle_ping from got inner wire shown raw residual state log=$RUN_DIR/log/light.log
	lossy_link $RATE $RTT "$percent" 11
	check "$percent %: the tunnel comes up" native_start || exit 1
	spawn light - idle "$BIN/light_flow" "${PEER_LIGHT[@]}" 2
	reap "$light" 10
	idle=$(light_figure delay_p50_ms "$RUN_DIR/log/idle.log")
	rm -f "$RUN_DIR/log/idle.log" "$log"
	if [ "$percent" = 0 ]; then
		ping_stats "$NS_A" "$PEER_TO" 30 -i 0.03
		idle_ping=$PING_MEDIAN
	fi
	load_serve bulk "$NS_B" $LOSSY_BULK_PORT || exit 1
	load_start bulk "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 60
	load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
	[ "$percent" != 0 ] || watch_start bulk "$NS_A" "$PEER_TO" 0.05
	sleep $WARM
	from=$EPOCHREALTIME
	got=$(received "$NS_B" $LOSSY_BULK_PORT) inner=$(inner_bytes)
	lab_ctl reset >/dev/null
	spawn light - light "$BIN/light_flow" "${PEER_LIGHT[@]}" $SECONDS_EACH
	sleep $SECONDS_EACH
	wire=$(lab_stat ab in_bytes)
	shown=$(status b '.peers[0] | "\(.loss_raw_in) \(.loss_residual_in) \(.state)"')
	got=$(($(received "$NS_B" $LOSSY_BULK_PORT) - got)) inner=$(($(inner_bytes) - inner))
	from=$(awk "BEGIN { printf \"%.6f %.6f\", $from, $EPOCHREALTIME }")
	load_stop bulk
	check "$percent %: the light flow ends in order" reap "$light" 10
	if [ "$percent" = 0 ]; then
		watch_stop bulk
		# shellcheck disable=SC2086 # two
		watch_figures bulk $from
		most "0 %: ping beside bulk, median over idle, ms" "$(minus "$PING_MEDIAN" "$idle_ping")" 3
		most "0 %: and 99 %" "$(minus "$PING_P99" "$idle_ping")" 12
	fi
	least "$percent %: goodput by (1 - loss) x rate" \
		"$(awk -v t="$from" "BEGIN { split(t, at); printf \"%.3f\", $got * 8 / (at[2] - at[1]) / ($RATE * 1e6 * (1 - $percent / 100)) }")" "$2"
	most "$percent %: light flow, 99 % over idle, ms" "$(minus "$(light_figure delay_p99_ms "$log")" "$idle")" "$3"
	judge "$percent %: messages of the light flow lost or late, of $(light_figure sent "$log")" "$(light_figure '| .lost + .late' "$log")" \
		'<=' "$(bad_most "$4")" "$(bad_most "$4")"
	most "$percent %: wire over inner, %" "$(awk "BEGIN { printf \"%.1f\", ($wire / $inner - 1) * 100 }")" "$5"
	# What is called degraded is what somebody inside notices, or a link that is bad by itself.
	read -r raw residual state <<<"$shown"
	expect "$percent %: loss that B shows, raw" "$raw" '>=' "$(awk "BEGIN { print $percent * 0.007 }")"
	expect "$percent %: at most" "$raw" '<=' "$(awk "BEGIN { print $percent * 0.013 }")"
	expect "$percent %: and what never came" "$residual" '<=' 0.01
	case $percent in
	0) check "$percent %: B calls it up" [ "$state" = up ] ;;
	20) check "$percent %: B calls it degraded" [ "$state" = degraded ] ;;
	esac
	native_stop
	lab_stop
}

lossy_networks
row "0 %" cell 0 0.88 10 0 8
row "5 %" cell 5 0.80 15 0.001 22
row "20 %" cell 20 0.75 25 0.001 60
