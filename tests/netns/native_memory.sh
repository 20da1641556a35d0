#!/bin/bash
# alone
# profiles: release
# timeout: 120
# takes: 24 s, 14 s of CPU
#
# What the daemons hold stays bounded when nobody takes it away: a peer that is stopped in the middle of a flood, of long
# packets and of short ones, whose slots cost the same; a device that is down at the far end; applications that do not
# read; and a link of 200 ms that loses 30 %, where both sides hold all that waits for what is sent again.
#
#     $NS_A  udp_flood.py, more than the link carries; iperf3 -c --- vpnd === lab, 100 Mb/s === vpnd --- $NS_B
#
# The bounds are those of one peer. The queue in front of it: 300 ms of 250 Mb/s at most, in slots of some 2.2 KB
# (PACKET_PATH_SLOT_BYTES) that a burst of short packets fills one each, 16384 of them (PACKET_PATH_QUEUED_MAX): 36 MB.
# The path: 12288 slots of some 1.6 KB each way (PATH_SLOTS_MOST): 20 MB, whatever WIRE_NATIVE_MEMORY_BYTES leaves the others.
. "$(dirname "$0")/lib_rows.sh"

QUEUE_KB=36864 PATH_KB=20480
FLOOD_PORT=5401 FLOOD='' HOLDER=''

# Of a daemon and all that belongs to it: VmRSS, or VmHWM, which 5 in clear_refs sets back to what is resident.
processes() { echo "$(vpnd_pid "$1")" $(pgrep -P "$(vpnd_pid "$1")"); }
memory_kb() { # NAME KEY
	local pid
	for pid in $(processes "$1"); do
		sed -n "s/^$2:[ \t]*\([0-9]*\) kB/\1/p" "/proc/$pid/status"
	done | awk '{ n += $1 } END { print n + 0 }'
}
declare -A BASE_KB=()
pair_start() {
	native_start || die "the tunnel did not come up"
	spawn HOLDER "$NS_B" holder python3 "$ROOT/tests/netns/tools/udp_flood.py" hold "$PEER_TO" $FLOOD_PORT
	BASE_KB=([a]=$(memory_kb a VmRSS) [b]=$(memory_kb b VmRSS))
}
watch_memory() {
	local name pid
	for name in a b; do
		for pid in $(processes $name); do
			echo 5 >"/proc/$pid/clear_refs"
		done
	done
}
bounded() { # TEXT
	local name
	for name in a b; do
		expect "$1: what $name held at most, KiB over idle" $(($(memory_kb $name VmHWM) - BASE_KB[$name])) '<=' $((QUEUE_KB + PATH_KB))
	done
}

flood_start() { # BYTES PACKETS
	spawn FLOOD "$NS_A" flood python3 "$ROOT/tests/netns/tools/udp_flood.py" send "$PEER_TO" $FLOOD_PORT "$1" "$2"
	sleep 1
}
flood_stop() { end_pid "$FLOOD" TERM 2; }
carries() { check "$1: the tunnel carries again" seconds_until 5 answers "$NS_A" "$PEER_TO"; }

# The far daemon is stopped, so nothing is acknowledged and no more allowed; then it wakes to what the socket kept.
stopped() { # BYTES PACKETS
	watch_memory
	flood_start "$1" "$2"
	# shellcheck disable=SC2046
	kill -STOP $(processes b)
	sleep 3
	# shellcheck disable=SC2046
	kill -CONT $(processes b)
	carries "packets of $1 bytes, peer stopped"
	bounded "packets of $1 bytes, peer stopped"
	flood_stop
}

lossy_networks
lab_start --rate 100M --delay 10ms --queue 60ms --seed 9
pair_start
stopped 1200 20000
stopped 64 30000

watch_memory
flood_start 1200 20000
in_ns "$NS_B" ip link set kcp0 down
sleep 2
check "device down: it is brought up again" ctl b up >/dev/null
carries "device down"
bounded "device down"
flood_stop
end_pid "$HOLDER" TERM 2
native_stop
lab_stop

lab_start --rate 100M --delay 100ms --queue 200ms --loss 30% --seed 10
pair_start
watch_memory
load_serve bulk "$NS_B" $LOSSY_BULK_PORT || exit 1
load_start bulk "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 4 60
load_connected "$NS_B" $LOSSY_BULK_PORT 4 || exit 1
sleep 4
kill -STOP "${LOAD_SERVER[bulk]}" # an application that does not read
flood_start 1200 10000
sleep 3
kill -CONT "${LOAD_SERVER[bulk]}"
expect "30 % at 200 ms: bytes that came" "$(received "$NS_B" $LOSSY_BULK_PORT)" '>' 200000
bounded "30 % at 200 ms"
flood_stop
load_stop bulk
native_stop
