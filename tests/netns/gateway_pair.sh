#!/bin/bash
# timeout: 120
# profiles: release
# long
#
# The README's pair of gateways, by the keepalived.conf that stands there: one takes over when the other's daemon is down, killed,
# or its outer link is gone, without a hand on it.
#
#     host 10.41.0.10 ── LAN ──┬── gw1 10.41.0.2   203.0.113.11 ──┬── internet ── 203.0.113.20 branch, 10.42.0.1
#           by 10.41.0.1       └── gw2 10.41.0.3   203.0.113.12 ──┘    (203.0.113.7: one of the two)
. "$(dirname "$0")/lib_sites.sh"

command -v keepalived >/dev/null || die "keepalived is missing; scripts/deps test-long installs it"
netns_new NS_NET net
netns_new NS_1 gw1
netns_new NS_2 gw2
netns_new NS_B branch
netns_new NS_H host
in_ns "$NS_NET" sh -c 'for b in lan internet; do ip link add $b type bridge && ip link set $b up; done'
plug() { # NS DEVICE BRIDGE ADDRESS
	local port="p${1#*-}$2"
	in_ns "$NS_NET" ip link add "$port" type veth peer name "$2" netns "$1"
	in_ns "$NS_NET" ip link set "$port" master "$3" up
	in_ns "$1" ip addr add "$4" dev "$2"
	in_ns "$1" ip link set "$2" up
}
plug "$NS_1" wan0 internet 203.0.113.11/24
plug "$NS_2" wan0 internet 203.0.113.12/24
plug "$NS_B" wan0 internet 203.0.113.20/24
plug "$NS_1" lan0 lan 10.41.0.2/16
plug "$NS_2" lan0 lan 10.41.0.3/16
plug "$NS_H" lan0 lan 10.41.0.10/16
in_ns "$NS_H" ip route add default via 10.41.0.1
for ns in "$NS_1" "$NS_2" "$NS_B"; do
	in_ns "$ns" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_nonlocal_bind=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
in_ns "$NS_B" ip addr add 10.42.0.1/32 dev lo

# ---- the same key and file for both ----
listen=$(sed -n 's/^    \(listen: \["203.*\)/\1/p' "$ROOT/README.md")
check "the README says where to listen" [ "$listen" = 'listen: ["203.0.113.7:29900"]' ]
for gw in gw1 gw2; do
	[ $gw = gw1 ] || cp "$RUN_DIR/gw1.key" "$RUN_DIR/gw2.key"
	native $gw 1 "$listen" "peers: {branch: {public_key: $(native_key branch), allowed_ips: [10.99.0.2, 10.42.0.0/16]}}"
done
native branch 2 'session: {dead_after: 5s}' "peers: {office: {public_key: $(native_key gw1), endpoints: ['203.0.113.7:29900'], allowed_ips: [10.99.0.1, 10.41.0.0/16]}}"
vpnd_start "$NS_1" "$RUN_DIR/gw1.yaml" || exit 1
vpnd_start "$NS_2" "$RUN_DIR/gw2.yaml" || exit 1
vpnd_start "$NS_B" "$RUN_DIR/branch.yaml" || exit 1
check "a gateway that nobody calls is healthy" ctl gw2 status --check

# ---- keepalived, with the README's file ----
conf() { # NAME PRIORITY
	awk '/^    # \/etc\/keepalived\/keepalived.conf/ { on = 1 } on && !/^    / { exit } on { print substr($0, 5) }' "$ROOT/README.md" |
		sed -e "s|/usr/bin/kcpctl -n office|$BIN/kcpctl --control $RUN_DIR/control/$1/control.sock|" -e "s/priority 100/priority $2/" \
			>"$RUN_DIR/$1.conf"
	check "the README has a file for $1" grep -q "$RUN_DIR.* status --check" "$RUN_DIR/$1.conf"
}
conf gw1 100
conf gw2 90
keep() { # VAR NS NAME
	spawn "$1" "$2" "keepalived-$3" keepalived --dont-fork --log-console --vrrp --use-file "$RUN_DIR/$3.conf" \
		--pid "$RUN_DIR/$3.pid" --vrrp_pid "$RUN_DIR/$3.vrrp.pid"
}
keep KEEP_1 "$NS_1" gw1
has() { [ -n "$(in_ns "$1" ip -o addr show wan0 to 203.0.113.7)" ] && [ -n "$(in_ns "$1" ip -o addr show lan0 to 10.41.0.1)" ]; }
wait_for "the first of them is in charge" 30 has "$NS_1" && pass "the first of them is in charge"
keep KEEP_2 "$NS_2" gw2
lives() { answers "$NS_H" 10.42.0.1; }
wait_for "the site's host reaches the branch" 30 lives && pass "the site's host reaches the branch"

# ---- one after the other goes ----
moves() { # TEXT NS
	seconds_until 40 lives_by "$2"
	expect "$1: the other has it after, s" "$TOOK" '<=' 30
}
lives_by() { has "$1" && lives; }
check "down at the first" ctl gw1 down -q
moves "down by order" "$NS_2"
check "up again" ctl gw1 up -q
wait_for "it is ready again" 60 ctl gw1 status --check && pass "it is ready again"
check "and does not take it back" lives_by "$NS_2"
vpnd_kill gw2
moves "SIGKILL" "$NS_1"
vpnd_start "$NS_2" "$RUN_DIR/gw2.yaml"
ping_through "$NS_H" 10.42.0.1 20 -i 0.2
expect "it comes back and takes nothing: lost pings" "$PING_LOST" == 0
check "the branch is with the first one" lives_by "$NS_1"
wait_for "it is ready" 60 ctl gw2 status --check && pass "it is ready"
in_ns "$NS_1" ip link set wan0 down
moves "a link that is gone" "$NS_2"
end_pid "$KEEP_1" TERM 10
end_pid "$KEEP_2" TERM 10
for name in gw1 gw2 branch; do
	check "$name ends in order" vpnd_stop $name
done
[ "$FAILURES" = 0 ]
