#!/bin/bash
# timeout: 150
# takes: 24 s, 5 s of CPU
#
# Two sites on the native wire over a link that loses 5 %: both families inside over both outside, names and numbers in
# the status, and nothing lost inside but what is late.
#
#     site A                                                                                        site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#       fd99::1        calls      2001:db8:ffff::1       2001:db8:ffff::2      listens        fd99::2
. "$(dirname "$0")/lib_sites.sh"

# The inner MTU of A's device is what the path carries; the library has until its probes came back.
mtu_is() { [ "$(status a '.interface.mtu')" = "$1" ] && in_ns "$NS_A" ip link show kcp0 | grep -q "mtu $1 "; }
path_mtu_is() { [ "$(status a '.peers[0].path_mtu')" = "$1" ]; }

# A ping is given up after 150 ms, which three losses in a row can take.
pings() {
	local text=$1
	shift
	ping_through "$1" "$2" 100 -i 0.02 "${@:3}"
	expect "$text: lost pings of 100" "$PING_LOST" '<=' 1
}

# Everything that two sites want of each other, over the address family that A calls B by.
visit() {
	local how=$1 path_mtu=$2 key_a key_b endpoint=$3
	key_a=$(native_key a) key_b=$(native_key b)
	native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$endpoint\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}}"
	native b 2 'listen: ["[::]:29900"]' \
		"peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	joined "$NS_A" 10.99.0.2 || exit 1
	pings "$how outside, IPv4 inside" "$NS_A" 10.99.0.2
	pings "$how outside, IPv6 inside" "$NS_B" fd99::1
	check "$how outside: 1 MB over IPv4, as it was sent" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 1000000 30
	check "$how outside: 1 MB back over IPv6" tcp_copy "$NS_B" "$NS_A" fd99::1 1000000 30
	wait_for "$how outside: the path's MTU is found" 15 path_mtu_is "$path_mtu"
	wait_for "$how outside: the device has the MTU that fits" 20 mtu_is $((path_mtu - 72))
	pings "$how outside: packets as long as the MTU" "$NS_A" 10.99.0.2 -M "do" -s $((path_mtu - 100))
	check "the status names wire, keys and endpoint" [ "native $key_a $key_b $endpoint" = \
		"$(status a '"\(.wire) \(.public_key) \(.peers[0].public_key) \(.peers[0].endpoint)"')" ]
	check "A is up, with loss" peer_is a b up degraded
	check "B is up, with loss" peer_is b a up degraded
	check "the MTU comes from probes" [ "$(status a .interface.mtu_source)" = probed ]
	expect "round trip, ms" "$(status a '.peers[0].rtt_ms')" '>=' 19
	expect "age of the handshake, s" "$(status a '.peers[0].handshake_age_s')" '>=' 0
	expect "loss on the way out is measured" "$(status a '.peers[0].loss_raw_out')" '>' 0
	expect "what was lost was sent again" "$(status b '.peers[0].retransmits')" '>' 0
	expect "nothing was malformed, replayed or forged" \
		"$(status a '[.peers[0].drops | to_entries[] | select(.key | test("data_|handshake_")) | .value] | add // 0')" == 0
	check "site A ends in order" vpnd_stop a
	# B hears of it and does not call: it has no endpoint of A's.
	wait_for "B knows that A went" 3 peer_is b a idle connecting
	check "site B ends in order" vpnd_stop b
	for site in a b; do
		expect "the state file of $site holds one line of a key and an address" \
			"$(grep -cE '^[A-Za-z0-9+/]{43}= [^ ]+:[0-9]+$' "$RUN_DIR/state/$site/$site.peers")" == 1
		expect "its mode" "$(stat -c %a "$RUN_DIR/state/$site/$site.peers")" == 640
		rm -f "$RUN_DIR/state/$site/$site.peers"
	done
}

lab_start --rate 100M --delay 10ms --loss 5% --seed 23
visit IPv4 1472 "$OUTER_B4:29900"
visit IPv6 1452 "[$OUTER_B6]:29900"
expect "the link did lose packets" "$(lab_stat ab lost_random)" '>' 100
