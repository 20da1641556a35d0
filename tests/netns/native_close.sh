#!/bin/bash
# profiles: release
# timeout: 120
# takes: 33 s, 2 s of CPU
#
# Going in order and coming back. Who goes says so, and the other side shows it within a second; who was told waits five
# seconds and a jitter before it calls, so a restart is not met by calls; who comes back calls at once, also the side
# that was called, for it knows where the other one was. Then: several endpoints of which the first is dead, a name that
# nobody knows yet, and a name that comes to mean another address.
#
#     site A                                                                              site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 20 ms --- 192.0.2.2, .3 wan0 - vpnd - kcp0 10.99.0.2
#                      calls, with an /etc/hosts of its own                          listens, has no endpoint of A
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 10ms --seed 11
key_a=$(native_key a) key_b=$(native_key b)
hosts=$RUN_DIR/hosts
echo '127.0.0.1 localhost' >"$hosts"
# shellcheck disable=SC2016
VPND_UNDER=(unshare -m sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$hosts")

site_a() { # ENDPOINTS
	native a 1 'session: {dead_after: 3s}' \
		"peers: {b: {public_key: \"$key_b\", endpoints: [$1], allowed_ips: [10.99.0.2]}}"
}
native b 2 'session: {dead_after: 3s}' 'listen: ["[::]:29900"]' \
	"peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"
forget() { rm -f "$RUN_DIR"/state/*/*.peers; }
through() { answers "$NS_A" 10.99.0.2 -W 0.2; }
back() { # TEXT BOUND
	seconds_until $((${2%.*} + 15)) through
	expect "$1: traffic after, s" "$TOOK" '<=' "$2"
}
told() { # TEXT NAME PEER STATE...
	seconds_until 5 peer_is "${@:2}"
	expect "$1: ${*:4} after, s" "$TOOK" '<' 1
}
settle() { all_answer "in use" "$NS_A" 10.99.0.2 10 -i 0.02; }
# Seconds from $1 to the first INIT that A sent after it, as the capture `calls` has it.
first_call() { datagrams list "$RUN_DIR/calls.pcap" | awk -v from="$1" '$6 == "INIT" && $1 > from { print $1 - from; exit }'; }
called() { [ -n "$(first_call "$1")" ]; }

# ---- the first endpoints are dead: a host that is not there, a port where nobody listens ----
site_a "\"192.0.2.99:29900\", \"$OUTER_B4:29999\", \"$OUTER_B4:29900\""
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
back "the third of three endpoints is good" 1.5
check "it is the one in use" [ "$(status a '.peers[0].endpoint')" = "$OUTER_B4:29900" ]

# ---- one peer down and up, by the one that calls ----
settle
check "down at A" ctl a down b
told "down at A: B knows" b a idle
check "A is down by order" peer_is a b down
check "nothing passes" [ "$(through && echo passes)" != passes ]
check "up at A" ctl a up b
back "up at A" 1

# ---- the same by the one that is called: it calls where the other one was ----
settle
record calls "$NS_A" wan0 "udp and src host $OUTER_A4"
from=$EPOCHREALTIME
check "down at B" ctl b down a
told "down at B: A knows" a b connecting
sleep 2
expect "A leaves it alone meanwhile: its calls" "$(first_call "$from" | wc -l)" == 0
check "up at B" ctl b up a
back "up at B" 1
record_stop calls

# ---- the whole network down: the same as a stop ----
settle
check "down at A, the whole network" ctl a down
told "down at A: B knows" b a idle
check "up at A" ctl a up
back "up at A" 1

# ---- the one that calls ends and comes back ----
settle
check "A ends in order" vpnd_stop a
told "A ended: B knows" b a idle
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
back "A is started again" 1

# ---- the one that is called ends: the other one waits, then calls; B has forgotten where A is ----
settle
record calls "$NS_A" wan0 "udp and src host $OUTER_A4"
from=$EPOCHREALTIME
check "B ends in order" vpnd_stop b
told "B ended: A knows" a b connecting
forget
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
seconds_until 15 called "$from"
expect "B ended: the first call of A after, s" "$(first_call "$from")" '>=' 5
expect "B ended: the first call of A after, s" "$(first_call "$from")" '<=' 10.5
back "after that call" 1
record_stop calls
check "A ends in order" vpnd_stop a

# ---- a name that nobody knows yet; A holds no memory of B ----
forget
site_a '"gate.example:29900"'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
sleep 1.5
check "no such name: A is connecting" peer_is a b connecting
check "the log says which name" grep -q 'cannot resolve gate.example:29900' "$(vpnd_log a)"
echo "$OUTER_B4 gate.example" >>"$hosts"
back "the name is known now" 5

# ---- the name moves, and B with it, without a word ----
settle
vpnd_kill b
forget
in_ns "$NS_B" ip addr del "$OUTER_B4/24" dev wan0
in_ns "$NS_B" ip addr add 192.0.2.3/24 dev wan0
printf '%s\n' '127.0.0.1 localhost' '192.0.2.3 gate.example' >"$hosts"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
back "the name means another address" 20
check "A sees it there" [ "$(status a '.peers[0].endpoint')" = 192.0.2.3:29900 ]
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
