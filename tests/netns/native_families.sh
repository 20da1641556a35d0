#!/bin/bash
# timeout: 120
#
# IPv4 and IPv6 outside, each with IPv4 and IPv6 inside; hosts that have one version only.
#
#     site A                                                                                        site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#       fd99::1        calls      2001:db8:ffff::1       2001:db8:ffff::2      listens        fd99::2
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3

try() { # NAME LISTEN ENDPOINT ADDRESS-OF-A, ADDRESS-OF-B...
	local name=$1 listen=$2 endpoint=$3 key_a key_b address allowed_a='' allowed_b=''
	shift 3
	key_a=$(native_key "a$name") key_b=$(native_key "b$name")
	local inner=("$@")
	for address in "$@"; do
		allowed_a+="${allowed_a:+, }\"${address}1\""
		allowed_b+="${allowed_b:+, }\"${address}2\""
	done
	NETWORK_ADDRESSES=$(prefixes 1 "$@") native "a$name" 1 \
		"peers: {b: {public_key: \"$key_b\", endpoints: [\"$endpoint\"], allowed_ips: [$allowed_b]}}"
	NETWORK_ADDRESSES=$(prefixes 2 "$@") native "b$name" 2 "listen: [\"$listen\"]" \
		"peers: {a: {public_key: \"$key_a\", allowed_ips: [$allowed_a]}}"
	vpnd_start "$NS_B" "$RUN_DIR/b$name.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a$name.yaml" || exit 1
	joined "$NS_A" "${inner[0]}2" || exit 1
	check "$name: A is where B sees it" grep -qE "$SEEN" <<<"$(status "b$name" '.peers[0].endpoint')"
	check "$name: B is where A calls it" [ "$(status "a$name" '.peers[0].endpoint')" = "$endpoint" ]
	for address in "$@"; do
		all_answer "$name, $address inside" "$NS_A" "${address}2" 20 -i 0.01
		all_answer "$name, $address inside, from B" "$NS_B" "${address}1" 20 -i 0.01
		all_answer "$name, $address inside, 1200 bytes" "$NS_B" "${address}1" 10 -i 0.01 -s 1200
		# Each host learns once what the path carries; what comes of it is the test where sanitizers make queues late.
		check "$name, $address inside, 6000 bytes come back" seconds_until 20 in_ns "$NS_A" ping -n -q -c 1 -W 2 -s 6000 "${address}2"
		[ "$PROFILE" != release ] || all_answer "$name, $address inside, 6000 bytes in fragments" "$NS_A" "${address}2" 3 -i 0.05 -s 6000
		check "$name, $address inside: TCP" tcp_copy "$NS_A" "$NS_B" "${address}2" 300000 60
		check "$name, $address inside: TCP back" tcp_copy "$NS_B" "$NS_A" "${address}1" 300000 60
	done
	check "$name: A ends in order" vpnd_stop "a$name"
	check "$name: B ends in order" vpnd_stop "b$name"
}
prefixes() { # N NETWORK...
	local n=$1 network list=''
	shift
	for network in "$@"; do
		list+="${list:+, }\"$network$n/$([[ $network == *:* ]] && echo 64 || echo 24)\""
	done
	echo "$list"
}

SEEN='^192\.0\.2\.1:[0-9]+$'
try dual4 '[::]:29900' "$OUTER_B4:29900" 10.99.0. fd99::
SEEN='^\[2001:db8:ffff::1\]:[0-9]+$'
try dual6 '[::]:29900' "[$OUTER_B6]:29900" fd99:: 10.99.0.

# One version only: the hosts have no address of the other, outside and inside.
in_ns "$NS_A" ip addr del "$OUTER_A4/24" dev wan0
in_ns "$NS_B" ip addr del "$OUTER_B4/24" dev wan0
try only6 "[$OUTER_B6]:29900" "[$OUTER_B6]:29900" 10.99.0.
try all6 "[::]:29900" "[$OUTER_B6]:29900" fd99::
in_ns "$NS_A" ip addr add "$OUTER_A4/24" dev wan0
in_ns "$NS_B" ip addr add "$OUTER_B4/24" dev wan0
in_ns "$NS_A" sysctl -q net.ipv6.conf.wan0.disable_ipv6=1
in_ns "$NS_B" sysctl -q net.ipv6.conf.wan0.disable_ipv6=1
SEEN='^192\.0\.2\.1:[0-9]+$'
try only4 "0.0.0.0:29900" "$OUTER_B4:29900" fd99::
in_ns "$NS_A" sysctl -q net.ipv6.conf.all.disable_ipv6=1
in_ns "$NS_B" sysctl -q net.ipv6.conf.all.disable_ipv6=1
try all4 "0.0.0.0:29900" "$OUTER_B4:29900" 10.99.0.
