#!/bin/bash
# timeout: 120
#
# routes.selection: interface. Each peer has a device, which takes any destination, multicast too, and whose carrier tells
# whether the peer is there.
#
#     A  10.99.0.1 kcp0, kcp0-b - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0-a, kcp0 10.99.0.2  B
#        172.16.1.1 lo                                                                                172.16.2.1 lo
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
b_key=$(native_key b) a_key=$(native_key a) c_key=$(native_key c)
host() {
	in_ns "$NS_A" ip -o link show | sed 's/ state .*//'
	in_ns "$NS_A" ip -o addr show | awk '{ print $2, $3, $4 }'
	in_ns "$NS_A" ip route show table all
	in_ns "$NS_A" ip -6 route show table all
}
write_a() { # FILTER PEER...
	local filter=$1
	shift
	native a 1 "routes: {selection: interface, ingress_filter: $filter}" 'session: {dead_after: 3s, keepalive: 5}' \
		"peers: {b: {public_key: $b_key, endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}$*}"
}
native b 2 'listen: ["0.0.0.0:29900"]' 'routes: {selection: interface, ingress_filter: off}' \
	"peers: {a: {public_key: $a_key, allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
in_ns "$NS_A" ip addr add 172.16.1.1/32 dev lo
in_ns "$NS_B" ip addr add 172.16.2.1/32 dev lo
host >"$RUN_DIR/before"
write_a strict
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
carrier() { [ "$(in_ns "$NS_A" ip -o link show kcp0-b | grep -c NO-CARRIER)" = "$((1 - $1))" ]; }
check "the peer has a device" [ -n "$(in_ns "$NS_A" ip -o link show kcp0-b)" ]
check "with the network's addresses" [ -n "$(in_ns "$NS_A" ip -o addr show kcp0-b to 10.99.0.1)" ]
check "without a carrier, as nobody is there" carrier 0
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
has_carrier() { carrier 1; }
lost_carrier() { carrier 0; }
wait_for "the carrier comes with the session" 10 has_carrier && pass "the carrier comes with the session"
joined "$NS_A" 10.99.0.2 || exit 1
all_answer "the peer by its address" "$NS_A" 10.99.0.2 10 -i 0.02
all_answer "and by IPv6" "$NS_A" fd99::2 10 -i 0.02
check "it goes by its device" grep -q 'dev kcp0-b' <<<"$(in_ns "$NS_A" ip route get 10.99.0.2)"
all_answer "neighbours by multicast" "$NS_A" ff02::1%kcp0-b 5 -i 0.05
ll=$(in_ns "$NS_B" ip -6 -o addr show dev kcp0-a scope link | awk '{ split($4, a, "/"); print a[1] }')
all_answer "and by their link-local address" "$NS_A" "$ll%kcp0-b" 5 -i 0.05

# ---- any destination, by whoever sets routes; any source if the filter is off ----
in_ns "$NS_A" ip route add 172.16.2.0/24 via 10.99.0.2 dev kcp0-b src 172.16.1.1
in_ns "$NS_B" ip route add 172.16.1.0/24 via 10.99.0.1 dev kcp0-a src 172.16.2.1
silent() { ! answers "$@"; }
check "strict: answers from an address that is not the peer's are not let in" silent "$NS_A" 172.16.2.1
expect "and counted" "$(dropped a b in_source)" '>' 0
write_a off
check "reload with the filter off" ctl a reload
all_answer "then they are" "$NS_A" 172.16.2.1 10 -i 0.02
tcp_copy "$NS_A" "$NS_B" 172.16.2.1 2000000 20 && pass "a transfer between networks behind"

# ---- the carrier follows ----
spawn asking "$NS_A" asking ping -n -q -i 0.2 10.99.0.2
vpnd_kill b
seconds_until 10 lost_carrier
expect "the carrier goes with the session, s" "$TOOK" '<' 6
end_pid "$asking" TERM 2
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
wait_for "and comes back" 10 has_carrier && pass "and comes back"
check "down PEER" ctl a down b
wait_for "takes it" 3 lost_carrier && pass "takes it"
check "up PEER" ctl a up b
wait_for "gives it back" 10 has_carrier && pass "gives it back"

# ---- peers that come and go ----
write_a off ", c: {public_key: $c_key, endpoints: [\"$OUTER_B4:29999\"], allowed_ips: [10.99.0.3]}"
check "reload with another peer" ctl a reload
check "it has a device" [ -n "$(in_ns "$NS_A" ip -o addr show kcp0-c to 10.99.0.1)" ]
check "and a route by it" [ -n "$(in_ns "$NS_A" ip route show 10.99.0.3 dev kcp0-c)" ]
expect "its MTU is that of the others" "$(in_ns "$NS_A" cat /proc/sys/net/ipv6/conf/kcp0-c/mtu)" == \
	"$(in_ns "$NS_A" cat /proc/sys/net/ipv6/conf/kcp0-b/mtu)"
write_a off
check "reload without it" ctl a reload
check "its device is gone" [ -z "$(in_ns "$NS_A" ip -o link show kcp0-c 2>/dev/null)" ]
all_answer "the other stays" "$NS_A" 10.99.0.2 10 -i 0.02
in_ns "$NS_A" ip addr del 10.99.0.1 dev kcp0-b
addressed() { [ -n "$(in_ns "$NS_A" ip -o addr show kcp0-b to 10.99.0.1)" ]; }
wait_for "an address that somebody took off it is put back" 10 addressed && pass "an address that somebody took off it is put back"
all_answer "with it the peer answers" "$NS_A" 10.99.0.2 5 -i 0.02
check "down" ctl a down
check "all links are down" [ -z "$(in_ns "$NS_A" ip -o link show up | grep kcp0)" ]
check "up" ctl a up
joined "$NS_A" 10.99.0.2
in_ns "$NS_A" ip link del kcp0-b
said() { grep -q 'kcp0-b was deleted by somebody' "$(vpnd_log a)"; }
wait_for "a device that somebody deletes is missed" 5 said && pass "a device that somebody deletes is missed"
check "and the daemon goes on" ctl a status >"$RUN_DIR/said"
in_ns "$NS_A" ip route del 172.16.2.0/24 2>/dev/null
check "it ends in order" vpnd_stop a
host >"$RUN_DIR/after"
check "all is as before" cmp -s "$RUN_DIR/before" "$RUN_DIR/after" || diff "$RUN_DIR/before" "$RUN_DIR/after"
