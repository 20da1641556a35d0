#!/bin/bash
# timeout: 120
#
# Reloads of the native wire: one that is refused, and one whose own listener cannot come back after it; another MTU; and
# a network that was of the kcp-go wire until then. Peers stay reached throughout, and what is remembered is kept.
#
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 4 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      listens on 5001, calls                      listens on 5000
#     a socket of somebody else holds 127.0.0.1:5001 at A, so that 0.0.0.0:5001 cannot be had there
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
key_a=$(native_key a) key_b=$(native_key b) MTU=auto somebody=''
a_conf() {
	native a 1 'session: {dead_after: 3s}' "$@" \
		"peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:5000\"], allowed_ips: [10.99.0.2]}}"
	sed -i "s/name: kcp0,/name: kcp0, mtu: $MTU,/" "$RUN_DIR/a.yaml"
}
b_conf() {
	native b 2 "listen: [\"$OUTER_B4:5000\"]" "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"
	sed -i "s/name: kcp0,/name: kcp0, mtu: $MTU,/" "$RUN_DIR/b.yaml"
}
through() { answers "$NS_A" 10.99.0.2 -W 0.1; }
missing() { status a '.warnings[]' | grep -q "^not listening on $1:5001"; }
refused() { # TEXT
	a_conf 'listen: ["0.0.0.0:5001"]'
	ctl a reload >/dev/null 2>&1
	expect "$1: the exit status of reload" $? '!=' 0
}

# The wire of A is another one until the reload: what the new one remembers goes into the folder all the same.
network a 1 "peers: {b: {endpoints: [\"$OUTER_B4:5000\"], allowed_ips: [10.99.0.2]}}"
b_conf
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
a_conf "listen: [\"$OUTER_A4:5001\"]"
check "from kcp-go to native" ctl a reload
joined "$NS_A" 10.99.0.2 || exit 1
wait_for "A's state file has B's address" 3 grep -qF " $OUTER_B4:5000" "$RUN_DIR/state/a/a.peers" &&
	pass "A's state file has B's address"
expect "A warns of no state file" "$(status a '.warnings[]' | grep -c 'state file')" == 0
check "the first address of a peer is no move" [ "$(status a '.peers[0].endpoint_moved_age_s')" = null ]

# In vain: the own listener has to make way for one that cannot be had, and comes back.
spawn somebody "$NS_A" somebody nc -u -l 127.0.0.1 5001
wait_for "the port is taken" 5 in_ns "$NS_A" bash -c "ss -Hluan | grep -q '127.0.0.1:5001'"
refused "the port is taken"
seconds_until 20 through
expect "the port is taken: packets pass again, s" "$TOOK" '<=' 2
check "the port is taken: A listens as before" [ "$(status a '.listen[0]')" = "$OUTER_A4:5001" ]

# The same while B is away, which forgets A: only A can call.
vpnd_kill b
rm -rf "$RUN_DIR/state/b"
refused "B is away"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
seconds_until 30 through
expect "B is back and has forgotten A: packets pass, s" "$TOOK" '<=' 10

# The own listener cannot come back: its address is gone. Network events find a daemon without a listener.
in_ns "$NS_A" ip addr add 192.0.2.77/32 dev wan0
a_conf 'listen: ["192.0.2.77:5001"]'
check "A listens elsewhere" ctl a reload
joined "$NS_A" 10.99.0.2
in_ns "$NS_A" ip addr del 192.0.2.77/32 dev wan0
refused "its address is gone"
check "its address is gone: A says so" missing 192.0.2.77
pid=$(vpnd_pid a)
in_ns "$NS_A" ip addr add 203.0.113.9/24 dev wan0
seconds_until 20 through
expect "its address is gone: packets pass by another socket, s" "$TOOK" '<=' 5
in_ns "$NS_A" ip addr add 192.0.2.77/32 dev wan0
there() { ! missing 192.0.2.77; }
wait_for "its address is back: A listens again" 8 there && pass "its address is back: A listens again"
check "A is the same process" kill -0 "$pid"
end_pid "$somebody" TERM 2 >/dev/null

# Another MTU on both sides: packets of that length, longer than the path carries in one piece, pass in both directions.
MTU=1280 && a_conf "listen: [\"$OUTER_A4:5001\"]" && b_conf
check "A has an MTU of 1280" ctl a reload
check "B has an MTU of 1280" ctl b reload
joined "$NS_A" 10.99.0.2
MTU=1900 && a_conf "listen: [\"$OUTER_A4:5001\"]" && b_conf
check "A has an MTU of 1900" ctl a reload
check "B has an MTU of 1900" ctl b reload
joined "$NS_A" 10.99.0.2
# Each tells the other by a handshake; what was sent before may have been refused.
wait_for "a packet of 1900 bytes passes" 3 answers "$NS_A" 10.99.0.2 -M dont -s 1872
refusals() { status "$1" '[.peers[0].drops[]?] | add // 0'; }
before_a=$(refusals a) before_b=$(refusals b)
all_answer "packets of 1900 bytes pass" "$NS_A" 10.99.0.2 5 -i 0.1 -M dont -s 1872
expect "A refused none of them" "$(refusals a)" == "$before_a"
expect "B refused none of them" "$(refusals b)" == "$before_b"

check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
