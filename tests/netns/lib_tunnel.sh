# shellcheck shell=bash
# A laptop with a full tunnel and its exit, and what leaves the laptop's outer link. Sources lib_sites.sh and makes:
#
#     A  10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1, 10.7.0.1 --- lab --- 192.0.2.2, 10.7.0.2 wan0 - vpnd - kcp0 10.99.0.2  B
#                                                                    203.0.113.1, 2001:db8:1::1 lo ("the internet")
#
# 10.7.0.0/24 and fd07::/64 are A's LAN, in private ranges; 192.0.2.0/24 is a network of public addresses on the same link.
#
#   write_a MODE LINE...     A's file; ALLOWED, EXEMPT, ENDPOINT change it
#   host, restored TEXT      all that a full tunnel may change; PASS if it is as when $RUN_DIR/before was written
#   hops, by_tunnel, by_wan  which way the kernel chooses: ADDRESS [mark MARK]
#   try_all                  tries to get out in all ways that a program has
#   watched TEXT             PASS if nothing but the tunnel's datagrams left while it tried
#   table                    the table of A's packet filter; helper: number of A's helper process
. "$(dirname "${BASH_SOURCE[0]}")/lib_sites.sh"

INTERNET4=203.0.113.1 INTERNET6=2001:db8:1::1 LAN_B4=10.7.0.2 LAN_B6=fd07::2
lab_start --delay 2ms --seed 3
in_ns "$NS_B" ip addr add $INTERNET4/32 dev lo
in_ns "$NS_B" ip addr add $INTERNET6/128 dev lo
in_ns "$NS_A" ip addr add 10.7.0.1/24 dev wan0
in_ns "$NS_B" ip addr add $LAN_B4/24 dev wan0
in_ns "$NS_A" ip addr add fd07::1/64 dev wan0 nodad
in_ns "$NS_B" ip addr add $LAN_B6/64 dev wan0 nodad
in_ns "$NS_A" ip route add default via $OUTER_B4
in_ns "$NS_A" ip -6 route add default via $OUTER_B6
in_ns "$NS_A" sysctl -qw net.ipv4.ping_group_range="0 0"
b_key=$(native_key b) a_key=$(native_key a)
write_a() { # MODE LINE...
	local mode=$1 allowed=${ALLOWED:-'0.0.0.0/0, "::/0"'}
	shift
	native a 1 "full_tunnel: {mode: $mode${EXEMPT:+, exempt: [$EXEMPT]}}" \
		"peers: {b: {public_key: $b_key, endpoints: [\"${ENDPOINT:-$OUTER_B4}:29900\"], allowed_ips: [$allowed]}}" "$@"
	chmod 600 "$RUN_DIR/a.yaml"
}
native b 2 'listen: ["[::]:29900"]' "peers: {a: {public_key: $a_key, allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1

# Without what moves by itself.
host() {
	in_ns "$NS_A" ip rule
	in_ns "$NS_A" ip -6 rule
	in_ns "$NS_A" ip -o link show | sed 's/ state .*//'
	in_ns "$NS_A" ip -o addr show | awk '{ print $2, $3, $4 }'
	in_ns "$NS_A" ip route show table all
	in_ns "$NS_A" ip -6 route show table all
	in_ns "$NS_A" nft list ruleset
	in_ns "$NS_A" sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{all,lo,wan0}.src_valid_mark
}
host >"$RUN_DIR/before"
restored() {
	host >"$RUN_DIR/after"
	check "$1: addresses, routes, rules and filters are as before" cmp -s "$RUN_DIR/before" "$RUN_DIR/after" ||
		diff "$RUN_DIR/before" "$RUN_DIR/after"
}
hops() { in_ns "$NS_A" ip -o route get "$@" 2>&1; }
by_tunnel() { hops "$@" | grep -q 'dev kcp0'; }
by_wan() { hops "$@" | grep -q 'dev wan0'; }
table() { in_ns "$NS_A" nft list table inet vpnd-a; }
no_rules() { [ -z "$(in_ns "$NS_A" ip rule | grep 'proto 20')" ]; }
helper() { pgrep -P "$(vpnd_pid a)"; }
kill_both() {
	kill -KILL "$(helper)"
	vpnd_kill a
}

try_all() {
	in_ns "$NS_A" ping -n -q -c 1 -W 1 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I wan0 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I $OUTER_A4 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 $INTERNET6 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I wan0 $INTERNET6 >/dev/null 2>&1
	in_ns "$NS_A" timeout 10 python3 "$RUN_DIR/leak.py" >/dev/null 2>&1
}
cat >"$RUN_DIR/leak.py" <<'PYTHON'
import socket
def send(family, kind, address, device=None, connect=False):
    try:
        s = socket.socket(family, kind)
        s.setblocking(False)
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        if connect:
            s.connect(address)
        else:
            s.sendto(b"leak", address)
    except OSError:
        pass
V4, V6, UDP, TCP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
for device in (None, b"wan0"):
    for port in (53, 67, 443, 547, 853, 4000):
        for host, family in (("203.0.113.1", V4), ("2001:db8:1::1", V6), ("8.8.8.8", V4)):
            send(family, UDP, (host, port), device)
            send(family, TCP, (host, port), device, True)
    # resolvers of the LAN
    for host, family in (("10.7.0.2", V4), ("192.0.2.2", V4), ("fd07::2", V6), ("2001:db8:ffff::2", V6)):
        for port in (53, 853):
            send(family, UDP, (host, port), device)
            send(family, TCP, (host, port), device, True)
    # whoever has public addresses on the link, and groups that routers hand on
    send(V4, UDP, ("192.0.2.2", 4000), device)
    send(V6, UDP, ("2001:db8:ffff::2", 4000), device)
    send(V4, UDP, ("232.1.1.1", 4000), device)
    send(V4, UDP, ("239.1.1.1", 4000), device)
    send(V6, UDP, ("ff0e::1234", 4000), device)
PYTHON
# leaks NAME: all that left by the outer link and is neither the tunnel's nor of the link itself (nor the answer to a datagram of B
# that comes when nobody listens any more)
leaks() { tcpdump -n -r "$RUN_DIR/$1.pcap" \
	'src host 192.0.2.1 or src host 2001:db8:ffff::1 or src host 10.7.0.1 or src host fd07::1' 2>/dev/null |
	grep -vE 'ICMP6, (neighbor|router)|192\.0\.2\.2\.29900: UDP|::2\.29900: UDP|ARP|igmp|multicast listener|ICMP 192\.0\.2\.1 udp port [0-9]+ unreachable'; }
watched() { # TEXT
	record leak "$NS_A" wan0 'ip or ip6'
	try_all
	record_stop leak
	leaks leak >"$RUN_DIR/leaked"
	check "$1: nothing left but the tunnel's datagrams" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
}
