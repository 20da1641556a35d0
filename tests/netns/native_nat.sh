#!/bin/bash
# alone
# profiles: release
# timeout: 120
# takes: 16 s, 3 s of CPU
#
# Behind a translator that gives its site another port every few seconds, pings go on without a new handshake.
#
#     A  10.0.1.2 --- nat1  192.0.2.11   changes the port --- bridge --- B  192.0.2.2, listens
#
#     inside: A 10.99.0.1, B 10.99.0.2
. "$(dirname "$0")/lib_nat.sh"

netns_new NS_B b
join "$NS_B" b 192.0.2.2
netns_new NAT1 nat1
join "$NAT1" nat1 192.0.2.11
netns_new NS_A a
behind "$NAT1" "$NS_A" lan0 10.0.1.1 10.0.1.2
rebind "$NAT1" 192.0.2.11 40000

native_key a >/dev/null
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1]}}"
native a 1 "peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"192.0.2.2:29900\"], allowed_ips: [10.99.0.2]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

a_is_at() { [ "$(status b '.peers[0].endpoint')" = "192.0.2.11:$1" ]; }
check "B sees A behind its translator" a_is_at 40000
rounds=3 seconds=4
[ -z "${LONG:-}" ] || rounds=30 seconds=9
for ((n = 1; n <= rounds; n++)); do
	pings_start a "$NS_A" 10.99.0.2
	stall_start
	sleep 1
	rebind "$NAT1" 192.0.2.11 $((40000 + n))
	sleep $seconds
	wait_for "rebinding $n: B follows" 20 a_is_at $((40000 + n)) && pass "rebinding $n: B follows"
	pings_stop a
	stall_stop
	expect "rebinding $n: longest gap, s" "$PINGS_GAP" '<=' "$(within 0.4)"
	expect "rebinding $n: lost of $PINGS_SENT pings" "$PINGS_LOST" '<=' "$(within 40 500)"
	expect "rebinding $n: pings" "$PINGS_SENT" '>=' $((seconds * 20))
done
# Who is called is not asked by anybody: it finds the new port when it speaks itself, or with the next keepalive.
expect "handshakes of A" "$(grep -c ': up at' "$(vpnd_log a)")" == 1
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
