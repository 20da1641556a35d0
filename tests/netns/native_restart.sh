#!/bin/bash
# alone in release
# timeout: 180
# takes: 15 s, 5 s of CPU
#
# Either site, and both, killed and started again: packets pass at most 1 s after READY, also where the site that was
# called is the one that crashed: it calls the address that its state file has, which is never older than a second. The
# survivor's interface and routes stay; those of the one that was killed go with it and come back.
#
#     site A                                                                            site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 20 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      calls; no port of its own                    listens; has no endpoint of A's
#     10.71.0.0/16 is routed to A                                   10.72.0.0/16 is routed to B
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 10ms --seed 5
key_a=$(native_key a) key_b=$(native_key b)
native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, 10.72.0.0/16]}}"
native b 2 'listen: ["[::]:29900"]' "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1, 10.71.0.0/16]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

bound=1
[ "$PROFILE" = release ] || bound=3
through() { answers "$NS_A" 10.99.0.2 -W 0.1; }
back() { # TEXT
	seconds_until 20 through
	expect "$1: packets pass after READY, s" "$TOOK" '<=' $bound
	all_answer "$1: in use" "$NS_B" 10.99.0.1 20 -i 0.02
}
device() { in_ns "$1" ip -j link show kcp0 2>/dev/null | jq -r '.[0].ifindex'; }
route() { in_ns "$1" ip -j route show "$2" | jq -r '.[0] | "\(.dev) \(.protocol)"'; }
no_device() { ! in_ns "$1" ip link show kcp0 2>/dev/null; }
state_has() { grep -qF " $2" "$RUN_DIR/state/$1/$1.peers"; }
a_at() { in_ns "$NS_A" ss -Hluan | awk '$4 !~ /127\.0/ { sub(/.*:/, "", $4); print $4; exit }'; }

crash() { # NAME NAMESPACE SURVIVOR ITS-NAMESPACE ROUTE-OF-THE-SURVIVOR
	local name=$1 ns=$2 ns_other=$4 route=$5 device
	device=$(device "$ns_other")
	vpnd_kill "$name"
	wait_for "$name was killed: its device is gone" 2 no_device "$ns" && pass "$name was killed: its device is gone"
	check "$name was killed: the other's device is the same" [ "$(device "$ns_other")" = "$device" ]
	check "$name was killed: the other's route stays" [ "$(route "$ns_other" "$route")" = "kcp0 201" ]
	vpnd_start "$ns" "$RUN_DIR/$name.yaml" || exit 1
	back "$name was killed"
	check "$name is back: the other's device is the same" [ "$(device "$ns_other")" = "$device" ]
	check "$name is back: the other's route stayed" [ "$(route "$ns_other" "$route")" = "kcp0 201" ]
	check "$name is back: so is its device" [ -n "$(device "$ns")" ]
}

wait_for "B's state file has A's address" 2 state_has b "$OUTER_A4:$(a_at)" && pass "B's state file has A's address"
crash a "$NS_A" b "$NS_B" 10.71.0.0/16
check "A is back: so is its route" [ "$(route "$NS_A" 10.72.0.0/16)" = "kcp0 201" ]
wait_for "the state file follows to A's new port" 2 state_has b "$OUTER_A4:$(a_at)" && pass "the state file follows to A's new port"
crash b "$NS_B" a "$NS_A" 10.72.0.0/16
check "B is back: so is its route" [ "$(route "$NS_B" 10.71.0.0/16)" = "kcp0 201" ]

# B is asked first: it calls nobody by its configuration.
vpnd_kill b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
from_b() { answers "$NS_B" 10.99.0.1 -W 0.1; }
seconds_until 20 from_b
expect "B was killed and speaks first: packets pass after READY, s" "$TOOK" '<=' $bound

# A moves; a second later B is killed.
in_ns "$NS_A" ip addr del "$OUTER_A4/24" dev wan0
in_ns "$NS_A" ip addr add 192.0.2.7/24 dev wan0
wait_for "A is seen at its new address" 3 state_has b 192.0.2.7: && pass "the state file follows to A's new address"
vpnd_kill b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
seconds_until 20 from_b
expect "A moved, B was killed and speaks first: packets pass after READY, s" "$TOOK" '<=' $bound
in_ns "$NS_A" ip addr del 192.0.2.7/24 dev wan0
in_ns "$NS_A" ip addr add "$OUTER_A4/24" dev wan0
back "A moved back"

vpnd_kill a
vpnd_kill b
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
back "both were killed, B is back last"
vpnd_kill a
vpnd_kill b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
back "both were killed, A is back last"

# Killed under load: a transfer through the survivor's TCP goes on by itself.
a_megabyte_came() { [ "$(in_ns "$NS_B" ip -s -j link show dev kcp0 | jq '.[0].stats64.rx.bytes')" -gt 1000000 ]; }
bytes=100000000 # more than goes before B is killed
[ "$PROFILE" = release ] || bytes=30000000
tcp_copy_start "$NS_A" "$NS_B" 10.99.0.2 $bytes 90
seconds_until 5 a_megabyte_came || fail "no transfer within 5 s"
check "a transfer goes on" is_ours "$COPY_CLIENT"
vpnd_kill b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
check "B was killed in the middle of a transfer: every byte arrives" tcp_copy_end

# Without the file, B has to wait until A notices; this is what the file is for.
vpnd_kill b
rm "$RUN_DIR/state/b/b.peers"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
seconds_until 20 through
expect "B was killed and has lost its state file: back after READY, s" "$TOOK" '<=' 10
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
