#!/bin/bash
# alone
# profiles: release
# timeout: 150
# takes: 20 s, 13 s of CPU
#
# A ping beside four TCP flows on the kcp-go wire, with kcptun's FEC 10/3: not more than 50 ms later than on the idle tunnel,
# the median as well as 99 of 100, and 15 % for the machine. With kcptun's fixed window it is ten times as much at 20 Mb/s.
#
#     $NS_A  4 x iperf3 -c, ping --- vpnd === lab: 20 or 100 Mb/s, 60 ms, queue of 60 ms === vpnd --- $NS_B
. "$(dirname "$0")/lib_rows.sh"

MOST=50 SECONDS_EACH=5

# The floors of goodput are for a machine that does other things, too; what is reached is the bench's question.
beside_bulk() { # GOODPUT: Mb/s, at least
	local idle bytes from
	ping_stats "$NS_A" "$PEER_TO" 30 -i 0.03
	idle=$PING_MEDIAN
	load_serve bulk "$NS_B" $LOSSY_BULK_PORT || exit 1
	load_start bulk "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 30
	load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
	sleep 3 # slow start ends
	bytes=$(received "$NS_B" $LOSSY_BULK_PORT)
	from=$EPOCHREALTIME
	ping_stats "$NS_A" "$PEER_TO" $((SECONDS_EACH * 20)) -i 0.05
	bytes=$(($(received "$NS_B" $LOSSY_BULK_PORT) - bytes))
	least "goodput, Mb/s" "$(awk "BEGIN { print $bytes * 8 / ($EPOCHREALTIME - $from) / 1e6 }")" "$1"
	load_stop bulk
	most "ping beside bulk, median over idle, ms" "$(minus "$PING_MEDIAN" "$idle")" "$MOST"
	most "and 99 %" "$(minus "$PING_P99" "$idle")" "$MOST"
	most "pings lost" "$PING_LOST" 0
}

cell() { # RATE GOODPUT
	lab_start --rate "$1M" --delay 30ms --queue 60ms --seed 5
	check "$1 Mb/s: the tunnel comes up" kcp-go_start || exit 1
	row "$1 Mb/s" beside_bulk "$2"
	kcp-go_stop
	lab_stop
}

lossy_networks
cell 20 10.5
cell 100 23.5
