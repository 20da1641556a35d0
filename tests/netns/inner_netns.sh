#!/bin/bash
# timeout: 120
#
# The device lives in a namespace of its own, where the tunnel is the only way out; the sockets stay with the host.
#
#     inner: 10.99.0.1 kcp0    A: vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2, 203.0.113.1  B
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
netns_new INNER inner
in_ns "$NS_B" ip addr add 203.0.113.1/32 dev lo
b_key=$(native_key b) a_key=$(native_key a)
write_a() { # NETNS
	native a 1 "peers: {b: {public_key: $b_key, endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [0.0.0.0/0, \"::/0\"]}}"
	sed -i "s|{name: kcp0, |&netns: $1, |" "$RUN_DIR/a.yaml"
}
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {a: {public_key: $a_key, allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
host() {
	for ns in "$NS_A" "$INNER"; do
		in_ns "$ns" ip -o link show | sed 's/ state .*//'
		in_ns "$ns" ip -o addr show | awk '{ print $2, $3, $4 }'
		in_ns "$ns" ip route show table all
		in_ns "$ns" ip -6 route show table all
		in_ns "$ns" ip rule
	done
}
host >"$RUN_DIR/before"
restored() {
	host >"$RUN_DIR/after"
	check "$1: all is as before" cmp -s "$RUN_DIR/before" "$RUN_DIR/after" || diff "$RUN_DIR/before" "$RUN_DIR/after"
}
for netns in "$INNER" "/run/netns/$INNER"; do
	write_a "$netns"
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	check "the device is there" [ -n "$(in_ns "$INNER" ip -o link show kcp0)" ]
	check "and not here" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]
	check "the socket is here" [ -n "$(udp_ports "$NS_A")" ]
	check "and not there" [ -z "$(udp_ports "$INNER")" ]
	joined "$INNER" 10.99.0.2 || exit 1
	all_answer "everything goes into the tunnel" "$INNER" 203.0.113.1 10 -i 0.02
	check "the host's own way is as it was" [ -z "$(in_ns "$NS_A" ip route show default)" ]
	check "status says that it is up" [ "$(status a .state)" = up ]
	in_ns "$INNER" ip route del default
	back() { in_ns "$INNER" ip route show default | grep -q kcp0; }
	wait_for "what somebody removes there is put back" 5 back && pass "what somebody removes there is put back"
	in_ns "$INNER" ip link set kcp0 down
	is_down() { [ "$(status a .state)" = down ]; }
	wait_for "status sees the link" 3 is_down && pass "status sees the link"
	check "up" ctl a up
	joined "$INNER" 203.0.113.1
	check "down" ctl a down
	check "takes addresses and routes" [ -z "$(in_ns "$INNER" ip -o addr show kcp0)$(in_ns "$INNER" ip route)" ]
	check "up" ctl a up
	joined "$INNER" 203.0.113.1
	check "reload" ctl a reload
	check "it ends in order" vpnd_stop a
	restored "SIGTERM"
done
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$INNER" 203.0.113.1
vpnd_kill a
gone() { [ -z "$(in_ns "$INNER" ip -o link show kcp0 2>/dev/null)" ]; }
wait_for "after a crash it is gone" 5 gone && restored "SIGKILL"
write_a nosuch
in_ns "$NS_A" timeout 10 "$BIN/vpnd" -c "$RUN_DIR/a.yaml" --control "$RUN_DIR/control/x/control.sock" >"$RUN_DIR/said" 2>&1
expect "a namespace that is not there: exit status" $? == 1
check "it says so" grep -q 'E-NETNS-1.*nosuch' "$RUN_DIR/said"
restored "a start that failed"
