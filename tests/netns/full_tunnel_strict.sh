#!/bin/bash
# timeout: 120
#
# Full tunnel on a host that is strict about where packets come in (rp_filter=1), with the endpoint behind a gateway: answers
# come from an address to which the tunnel leads. lib_tunnel.sh draws it; the endpoint is another address of B's lo.
. "$(dirname "$0")/lib_tunnel.sh"

ENDPOINT=198.51.100.1
in_ns "$NS_B" ip addr add $ENDPOINT/32 dev lo
start_a() { vpnd_start "$NS_A" "$RUN_DIR/a.yaml" && joined "$NS_A" "$1"; }
dropped_by_path() { in_ns "$NS_A" nstat -asz TcpExtIPReversePathFilter | awk '/ReversePath/ { print $2 }'; }
filter_paths() { in_ns "$NS_A" sysctl -qw "net.ipv4.conf.all.rp_filter=$1" "net.ipv4.conf.wan0.rp_filter=$1" "net.ipv4.conf.default.rp_filter=$1"; }

for strict in 1 2; do
	filter_paths $strict
	host >"$RUN_DIR/before"
	for mode in route kill_switch; do
		write_a $mode 'dns: {servers: [10.99.0.2]}'
		start_a $INTERNET4 && pass "$mode with rp_filter=$strict: the tunnel comes up"
		expect "$mode with rp_filter=$strict: answers that were dropped" "$(dropped_by_path)" == 0
		check "down" ctl a down
		check "it ends in order" vpnd_stop a
		restored "$mode with rp_filter=$strict"
		# the endpoint's family is not the tunnel's
		ALLOWED='"::/0", 10.99.0.2' write_a $mode 'dns: {servers: [10.99.0.2]}'
		start_a $INTERNET6 && pass "$mode of IPv6 alone with rp_filter=$strict: the tunnel comes up"
		check "IPv4 does not leave beside it" by_tunnel $INTERNET4
		check "down" ctl a down
		check "it ends in order" vpnd_stop a
		restored "$mode of IPv6 alone with rp_filter=$strict"
	done
done

# ---- strict from some moment on, and on a device that comes later; and after a crash ----
filter_paths 0
host >"$RUN_DIR/before"
write_a route
start_a $INTERNET4 || exit 1
check "a host that is not strict is left alone" [ -z "$(in_ns "$NS_A" nft list ruleset)" ]
filter_paths 1
marks() { table 2>/dev/null | grep -q 'socket mark'; }
wait_for "it is noticed when that changes" 10 marks && pass "it is noticed when that changes"
check "the tunnel stays" answers "$NS_A" $INTERNET4
in_ns "$NS_A" nft flush ruleset
wait_for "what marks is put back when somebody flushes it" 5 marks && pass "what marks is put back when somebody flushes it"
in_ns "$NS_A" ip tuntap add dev late0 mode tun
in_ns "$NS_A" ip link set late0 up
counts() { [ "$(in_ns "$NS_A" sysctl -n net.ipv4.conf.late0.src_valid_mark)" = 1 ]; }
wait_for "and for devices that come later" 20 counts && pass "and for devices that come later"
in_ns "$NS_A" ip link del late0
kill_both
write_a off
sed -i 's/allowed_ips: \[.*\]}}/allowed_ips: [10.99.0.2]}}/' "$RUN_DIR/a.yaml"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
vpnd_stop a
filter_paths 0
restored "SIGKILL of both and restart"
