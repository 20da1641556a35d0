#!/bin/bash
# timeout: 120
#
# Every mix of IP versions inside and outside, and sizes: what is too big is told to the sender, the MSS of SYNs fits.
#
#     site A                                                                              site B
#     10.99.0.1, fd99::1  kcp0 - vpnd - 192.0.2.1,        --- lab --- 192.0.2.2,        - vpnd - kcp0  10.99.0.2, fd99::2
#                                       2001:db8:ffff::1              2001:db8:ffff::2
#                                       dials both networks in turn   listens
#     net A: 10.71.0.1/32 on lo                                       net B: 10.72.0.0/16, fd72::/48 on lo, routed
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
MSS=1298 # inner MTU with salsa20 and FEC: 1350 - 52

# A site's outside can be one version only: the other is not configured at all.
try() { # NAME LISTEN ENDPOINT
	network "a$1" 1 "routes: {metric: 77}" "peers: {b: {endpoints: [\"$3\"]," \
		"  allowed_ips: [10.99.0.2, 10.72.0.0/16, \"fd99::2\", \"fd72::/48\"]}}"
	network "b$1" 2 "listen: [\"$2\"]" "peers: {a: {allowed_ips: [10.99.0.1, 10.71.0.1, \"fd99::1\"]}}"
	vpnd_start "$NS_B" "$RUN_DIR/b$1.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a$1.yaml" || exit 1
	joined "$NS_A" 10.99.0.2 || exit 1
	all_answer "$1: IPv4 inside" "$NS_A" 10.99.0.2 20 -i 0.01
	all_answer "$1: IPv6 inside" "$NS_A" fd99::2 20 -i 0.01
	all_answer "$1: IPv4 inside, whole packets" "$NS_B" 10.99.0.1 10 -i 0.01 -M 'do' -s $((MSS - 28))
	all_answer "$1: IPv6 inside, whole packets" "$NS_B" fd99::1 10 -i 0.01 -M 'do' -s $((MSS - 48))
	check "$1: TCP inside, IPv4" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 300000 20
	check "$1: TCP inside, IPv6" tcp_copy "$NS_B" "$NS_A" fd99::1 300000 20
}
leave() {
	check "$1: site A ends in order" vpnd_stop "a$1"
	check "$1: site B ends in order" vpnd_stop "b$1"
}

try outside6 "[$OUTER_B6]:29900" "[$OUTER_B6]:29900"
leave outside6
try dual4 "[::]:29901" "$OUTER_B4:29901"
leave dual4
try dual6 "[::]:29902" "[$OUTER_B6]:29902"

# ---- routes, on the site that is still there ----
route() { in_ns "$NS_A" ip -j "$1" route show "$2" | jq -r '.[0] | "\(.dev) \(.metric) \(.protocol)"'; }
expect_route() { check "the route to $2 is vpnd's" [ "$(route "$1" "$2")" = "kcp0 77 201" ]; }
expect_route -4 10.72.0.0/16
expect_route -6 fd72::/48
check "what the own prefix covers has no second route" \
	[ -z "$(in_ns "$NS_A" ip -4 route show 10.99.0.2/32)" ]

in_ns "$NS_B" ip addr add 10.72.5.6/32 dev lo
in_ns "$NS_B" ip addr add fd72::5/128 dev lo
in_ns "$NS_A" ip addr add 10.71.0.1/32 dev lo
in_ns "$NS_B" ip route add 10.71.0.1/32 dev kcp0 2>/dev/null # there already: the peer's
all_answer "a host behind site B" "$NS_A" 10.72.5.6 5 -i 0.01
all_answer "a host behind site B, IPv6" "$NS_A" fd72::5 5 -i 0.01
all_answer "from a host behind site A" "$NS_A" 10.72.5.6 5 -i 0.01 -I 10.71.0.1

# ---- sizes ----
mtu() { in_ns "$1" ip -j link show kcp0 | jq -r '.[0].mtu'; }
expect "the device's MTU is the conversation's mss" "$(mtu "$NS_A")" == $MSS
# One byte more than fits: the host itself refuses, by the device's MTU.
too_long() { in_ns "$NS_A" ping -n -c 1 -W 1 -M 'do' -s "$1" "$2" 2>&1 | grep -q 'message too long'; }
check "EMSGSIZE for a packet one byte too big, IPv4" too_long $((MSS - 27)) 10.99.0.2
check "EMSGSIZE for a packet one byte too big, IPv6" too_long $((MSS - 47)) fd99::2
check "a big packet without DF is sent in fragments" \
	in_ns "$NS_A" ping -n -c 3 -i 0.01 -W 5 -M 'dont' -s 4000 10.99.0.2 >/dev/null
# Somebody raises the device's MTU: vpnd itself must say that the packet is too big, and name the size.
in_ns "$NS_A" ip link set kcp0 mtu 1500
told() { in_ns "$NS_A" ping -n -c 2 -i 0.2 -W 1 -M 'do' -s 1400 "$1" 2>&1 | grep -qE "mtu ?= ?$MSS"; }
check "vpnd tells senders the size that fits, IPv4" told 10.72.5.6
check "vpnd tells senders the size that fits, IPv6" told fd72::5
check "and counts what it did not carry" [ "$(dropped adual6 b out_too_big)" -ge 2 ]
in_ns "$NS_A" ip link set kcp0 mtu $MSS

# ---- MSS on SYN: an end with a large MTU of its own behind a site must not learn more than the tunnel carries ----
# The route's advmss makes the client ask for 1460; what arrives at the other end is what fits.
syn_mss() { # FAMILY CLIENT_NS SERVER_NS ADDRESS ROUTE_PREFIX IP_HEADER_BYTES
	local family=$1 client=$2 server=$3 address=$4 fits=$((MSS - $6 - 20)) dump nc
	in_ns "$client" ip "-$family" route replace "$5" dev kcp0 metric 5 advmss 1460
	spawn dump "$server" "syn$family" tcpdump -n -l -v -i kcp0 'ip proto 6 or ip6 proto 6'
	wait_for "tcpdump listens" 10 grep -q 'listening on' "$RUN_DIR/log/syn$family.log"
	spawn nc "$server" "nc$family" nc "-$family" -l 5203
	wait_for "nc listens" 10 listens "$server" 5203
	in_ns "$client" timeout 5 nc "-$family" -N "$address" 5203 </dev/null
	reap "$nc" 5
	wait_for "the SYN is seen" 5 grep -qE 'Flags \[S\],.*mss' "$RUN_DIR/log/syn$family.log"
	end_pid "$dump" TERM 5
	expect "IPv$family: the MSS of a SYN is clamped to what fits" \
		"$(sed -nE 's/.*Flags \[S\],.*mss ([0-9]+).*/\1/p' "$RUN_DIR/log/syn$family.log" | head -n 1)" == $fits
	in_ns "$client" ip "-$family" route del "$5" dev kcp0 metric 5
}
syn_mss 4 "$NS_A" "$NS_B" 10.72.5.6 10.72.5.6/32 20
syn_mss 6 "$NS_A" "$NS_B" fd72::5 fd72::5/128 40
leave dual6
