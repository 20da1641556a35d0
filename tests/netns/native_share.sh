#!/bin/bash
# alone
# profiles: release
# timeout: 180
# takes: 48 s, 30 s of CPU
#
# Others on the same link are not starved, nor is the tunnel: four CUBIC flows in it beside one CUBIC flow that goes
# without, on links with a short, a fitting and a long queue.
#
#     $NS_A  4 x iperf3 -c --- vpnd ===+== lab, 50 Mb/s, RTT 60 ms ==+=== vpnd --- iperf3 -s  $NS_B
#            1 x iperf3 -c ------------+                             +----------- iperf3 -s
. "$(dirname "$0")/lib_rows.sh"

PLAIN_PORT=5301

share() { # QUEUE LEAST MOST [REACHED]: percent
	local tunnel plain
	lab_start --rate 50M --delay 30ms --queue "$1" --seed 8
	check "queue of $1: the tunnel comes up" native_start || exit 1
	load_serve plain "$NS_B" $PLAIN_PORT || exit 1
	load_serve tunnel "$NS_B" $LOSSY_BULK_PORT || exit 1
	load_start tunnel "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 40
	load_start plain "$NS_A" "$OUTER_B4" $PLAIN_PORT 1 40
	load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
	load_connected "$NS_B" $PLAIN_PORT 1 || exit 1
	sleep 4
	tunnel=$(received "$NS_B" $LOSSY_BULK_PORT) plain=$(received "$NS_B" $PLAIN_PORT)
	sleep 11
	tunnel=$(($(received "$NS_B" $LOSSY_BULK_PORT) - tunnel)) plain=$(($(received "$NS_B" $PLAIN_PORT) - plain))
	load_stop tunnel
	load_stop plain
	native_stop
	lab_stop
	printf '      queue of %s: %s and %s Mb/s\n' "$1" "$(awk "BEGIN { print $tunnel * 8 / 11e6 }")" "$(awk "BEGIN { print $plain * 8 / 11e6 }")"
	tunnel=$(awk "BEGIN { printf \"%.1f\", 100 * $tunnel / ($tunnel + $plain) }")
	least "queue of $1: share of the tunnel, %" "$tunnel" "$2" "${4:-}"
	[ -z "$3" ] || most "queue of $1: no more" "$tunnel" "$3"
}

lossy_networks
row "20 ms" share 20ms 30 70
row "one round trip" share 60ms 20 75
row "three round trips" share 180ms 10 "" 8
