#!/bin/bash
# alone
# profiles: release
# timeout: 120
# takes: 13 s, 4 s of CPU
#
# The link carries nothing for three seconds under load. Traffic flows again within two round trips and 0.3 s after it is
# back: pings, and the packets of the connections inside, whose senders sleep for longer by then.
#
#     $NS_A  4 x iperf3 -c, ping --- vpnd === lab, 20 Mb/s, RTT 60 ms, out for 3 s === vpnd --- $NS_B  tcpdump on kcp0
. "$(dirname "$0")/lib_rows.sh"

LIMIT_MS=420
load_seconds=40

first_after() { # LOG TIME: milliseconds from TIME to the first line that is stamped later
	awk -v from="$2" '{ gsub(/[][]/, "", $1) } $1 + 0 > from { printf "%.0f\n", ($1 - from) * 1000; exit }' "$1"
}
outage() {
	local back pid inside answered
	back=$(awk "BEGIN { printf \"%.6f\", $EPOCHREALTIME + 3 }")
	lab_ctl outage both 3s >/dev/null
	rm -f "$RUN_DIR/log/inside.log"
	spawn pid "$NS_B" inside tcpdump -n -tt -l -i kcp0 "tcp dst port $LOSSY_BULK_PORT"
	sleep 4
	end_pid "$pid" INT 3
	grep ' IP ' "$RUN_DIR/log/inside.log" >"$RUN_DIR/inside"
	grep ' time=' "$RUN_DIR/log/watch-outage.log" >"$RUN_DIR/answers"
	inside=$(first_after "$RUN_DIR/inside" "$back")
	answered=$(first_after "$RUN_DIR/answers" "$back")
	most "ms until the first packet of the connections" "$inside" $LIMIT_MS
	most "ms until the first answer to a ping" "$answered" $LIMIT_MS
}

lossy_networks
lossy_link 20 60 0 5
native_start || die "the tunnel did not come up"
load_serve bulk "$NS_B" $LOSSY_BULK_PORT || exit 1
load_start bulk "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 $load_seconds
load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
watch_start outage "$NS_A" "$PEER_TO" 0.02
sleep 3
sessions=$(grep -c ': up at' "$(vpnd_log a)")
row "an outage" outage
row "a second one" outage
expect "the session is the same" "$(grep -c ': up at' "$(vpnd_log a)")" == "$sessions"
before=$(received "$NS_B" $LOSSY_BULK_PORT)
sleep 1
least "and 1 s later the link is in use again, Mb/s" "$(awk "BEGIN { print ($(received "$NS_B" $LOSSY_BULK_PORT) - $before) * 8 / 1e6 }")" 10
watch_stop outage
load_stop bulk
native_stop
