#!/bin/bash
# alone
# profiles: release
# timeout: 120
# takes: 14 s, 4 s of CPU
#
# A link that carries a quarter of what it did, from one moment to the next, under load: three seconds later a ping takes
# little longer than on the idle link again, although the queue of the link holds 0.4 s by then.
#
#     $NS_A  4 x iperf3 -c, ping --- vpnd === lab, 20 -> 5 Mb/s, RTT 60 ms, 250 kB of queue === vpnd --- $NS_B
. "$(dirname "$0")/lib_rows.sh"

drop() {
	local idle at bytes
	lab_ctl set both rate=20M >/dev/null
	ping_stats "$NS_A" "$PEER_TO" 30 -i 0.03
	idle=$PING_MEDIAN
	load_serve bulk "$NS_B" $LOSSY_BULK_PORT || exit 1
	load_start bulk "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 30
	load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
	watch_start drop "$NS_A" "$PEER_TO" 0.02
	sleep 4
	at=$EPOCHREALTIME
	lab_ctl set both rate=5M >/dev/null
	sleep 3
	bytes=$(received "$NS_B" $LOSSY_BULK_PORT)
	sleep 5
	bytes=$(($(received "$NS_B" $LOSSY_BULK_PORT) - bytes))
	watch_stop drop
	load_stop bulk
	watch_figures drop "$at" "$(plus "$at" 3)"
	printf '      in the first 3 s: median %s ms over idle, of %d\n' "$(minus "$PING_MEDIAN" "$idle")" "$PING_RECEIVED"
	watch_figures drop "$(plus "$at" 3)" "$(plus "$at" 8)"
	most "from 3 s on: ping's median over idle, ms" "$(minus "$PING_MEDIAN" "$idle")" 20
	least "from 3 s on: goodput by rate" "$(awk "BEGIN { print $bytes * 8 / 5 / 5e6 }")" 0.75
}

lossy_networks
lab_start --rate 20M --delay 30ms --queue 250000 --seed 6
native_start || die "the tunnel did not come up"
row "rate drop" drop
native_stop
