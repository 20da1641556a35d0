#!/bin/bash
# alone
# profiles: release
# timeout: 200
# takes: 21 s, 4 s of CPU
#
# A flow of 50 messages of 64 bytes a second, alone on a link that loses a tenth both ways: every message comes, soon, and
# what that takes on the wire is bounded. LONG=1: a minute of it, 3000 messages.
#
#     $NS_A  light flow --- vpnd === lab, 100 Mb/s, RTT 60 ms, 10 % lost each way === vpnd --- $NS_B
. "$(dirname "$0")/lib_rows.sh"

SECONDS_EACH=${LONG:+60}
SECONDS_EACH=${SECONDS_EACH:-20}
PAYLOAD=64

alone() {
	local light wire lost sent p99 log=$RUN_DIR/log/light.log
	rm -f "$log"
	lab_ctl reset >/dev/null
	spawn light - light "$BIN/light_flow" "${PEER_LIGHT[@]}" $SECONDS_EACH $PAYLOAD
	reap "$light" $((SECONDS_EACH + 10)) || fail "the light flow did not end in order"
	wire=$(lab_stat ab in_bytes)
	sent=$(light_figure sent "$log") lost=$(light_figure lost "$log") p99=$(light_figure delay_p99_ms "$log")
	expect "messages sent" "$sent" '==' $((SECONDS_EACH * 50))
	most "messages lost" "$lost" 0
	most "99 % one way over half a round trip, ms" "$(minus "$p99" 30)" 75
	most "bytes on the wire for a message of $PAYLOAD" "$((wire / sent))" 400 790
}

lossy_networks
lossy_link 100 60 10 17
check "the tunnel comes up" native_start || exit 1
row "light flow alone" alone
native_stop
lab_stop
