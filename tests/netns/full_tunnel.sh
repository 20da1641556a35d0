#!/bin/bash
# timeout: 150
#
# Full tunnel: what goes where, and what leaves the outer link. A is a laptop, B its exit; behind B stands "the internet",
# and on A's link a resolver of the LAN, which is asked by nobody while the tunnel is on.
#
#     A  10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2  B
#                                                                    203.0.113.1, 2001:db8:1::1 lo ("the internet")
. "$(dirname "$0")/lib_sites.sh"

INTERNET4=203.0.113.1 INTERNET6=2001:db8:1::1
lab_start --delay 2ms --seed 3
in_ns "$NS_B" ip addr add $INTERNET4/32 dev lo
in_ns "$NS_B" ip addr add $INTERNET6/128 dev lo
in_ns "$NS_A" ip route add default via $OUTER_B4
in_ns "$NS_A" ip -6 route add default via $OUTER_B6
in_ns "$NS_A" sysctl -qw net.ipv4.ping_group_range="0 0"
b_key=$(native_key b) a_key=$(native_key a)
write_a() { # MODE LINE...
	local mode=$1 allowed=${ALLOWED:-'0.0.0.0/0, "::/0"'}
	shift
	native a 1 "full_tunnel: {mode: $mode${EXEMPT:+, exempt: [$EXEMPT]}}" \
		"peers: {b: {public_key: $b_key, endpoints: [\"${ENDPOINT:-$OUTER_B4}:29900\"], allowed_ips: [$allowed]}}" "$@"
}
native b 2 'listen: ["[::]:29900"]' "peers: {a: {public_key: $a_key, allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1

# Everything that a full tunnel may change, without what moves by itself.
host() {
	in_ns "$NS_A" ip rule
	in_ns "$NS_A" ip -6 rule
	in_ns "$NS_A" ip -o link show | sed 's/ state .*//'
	in_ns "$NS_A" ip -o addr show | awk '{ print $2, $3, $4 }'
	in_ns "$NS_A" ip route show table all
	in_ns "$NS_A" ip -6 route show table all
	in_ns "$NS_A" nft list ruleset
	in_ns "$NS_A" sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.all.src_valid_mark
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

# Tries to get out in all ways that a program has.
try_all() {
	in_ns "$NS_A" ping -n -q -c 1 -W 1 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I wan0 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I $OUTER_A4 $INTERNET4 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 $INTERNET6 >/dev/null 2>&1
	in_ns "$NS_A" ping -n -q -c 1 -W 1 -I wan0 $INTERNET6 >/dev/null 2>&1
	in_ns "$NS_A" timeout 2 python3 "$RUN_DIR/leak.py" >/dev/null 2>&1
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
    for port in (53, 443, 853, 4000):
        for host, family in (("203.0.113.1", V4), ("2001:db8:1::1", V6), ("8.8.8.8", V4)):
            send(family, UDP, (host, port), device)
            send(family, TCP, (host, port), device, True)
    # the resolver of the LAN
    send(V4, UDP, ("192.0.2.2", 53), device)
    send(V4, TCP, ("192.0.2.2", 53), device, True)
    send(V4, TCP, ("192.0.2.2", 853), device, True)
    send(V6, UDP, ("2001:db8:ffff::2", 53), device)
PYTHON
# leaks NAME: all that left by the outer link and is neither the tunnel's nor of the link itself (nor the answer to a datagram of B
# that comes when nobody listens any more)
leaks() { tcpdump -n -r "$RUN_DIR/$1.pcap" 'src host 192.0.2.1 or src host 2001:db8:ffff::1' 2>/dev/null |
	grep -vE 'ICMP6, (neighbor|router)|192\.0\.2\.2\.29900: UDP|::2\.29900: UDP|ARP|igmp|multicast listener|ICMP 192\.0\.2\.1 udp port [0-9]+ unreachable'; }
watched() { # TEXT
	record leak "$NS_A" wan0 'ip or ip6'
	try_all
	record_stop leak
	leaks leak >"$RUN_DIR/leaked"
	check "$1: nothing left but the tunnel's datagrams" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
}

# ---- route ----
write_a route
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
all_answer "IPv4 by the tunnel" "$NS_A" $INTERNET4 5 -i 0.05
all_answer "IPv6 by the tunnel" "$NS_A" $INTERNET6 5 -i 0.05
check "IPv4 goes into the tunnel" by_tunnel $INTERNET4
check "IPv6, too" by_tunnel $INTERNET6
check "the LAN stays outside" by_wan $OUTER_B4
check "so does IPv6's" by_wan $OUTER_B6
mark=$(in_ns "$NS_A" ip rule | sed -nE 's/.*fwmark (0x[0-9a-f]+) goto.*/\1/p')
check "what is marked goes as before" by_wan $INTERNET4 mark "$mark"
for family in -4 -6; do
	in_ns "$NS_A" ip $family rule | awk '/proto 201/ { print $1 }' >"$RUN_DIR/prefs"
	expect "rules of ${family#-}, in front of the host's" "$(sort -n "$RUN_DIR/prefs" | tail -n 1 | tr -d :)" '<' 32766
done
ping_stats "$NS_A" $OUTER_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3

# ---- somebody tidies up: it is put back, and said ----
in_ns "$NS_A" ip rule del pref "$(in_ns "$NS_A" ip rule | awk '/lookup main suppress/ { print $1 + 0 }')"
in_ns "$NS_A" ip route flush table "$(in_ns "$NS_A" ip rule | awk '/proto 201/ && /lookup [0-9]/ { print $5; exit }')"
check "now it is gone" by_wan $INTERNET4
both_back() { by_tunnel $INTERNET4 && in_ns "$NS_A" ip rule | grep -q 'lookup main suppress'; }
wait_for "rule and route are put back" 5 both_back && pass "rule and route are put back"
check "the log says so" grep -q 'put back' "$(vpnd_log a)"
check "of the rules, too" grep -q 'put right' "$(vpnd_log a)"

# ---- down, up, reload ----
check "down" ctl a down
check "after down all goes as before" by_wan $INTERNET4
check "no rule is left" [ -z "$(in_ns "$NS_A" ip rule | grep 'proto 201')" ]
check "up" ctl a up
joined "$NS_A" $INTERNET4
EXEMPT='lan, 203.0.113.0/24' write_a route
check "reload with an exemption" ctl a reload
check "it is taken" by_wan $INTERNET4
check "the rest stays" by_tunnel 198.51.100.1
EXEMPT='203.0.113.0/24' write_a route # LAN is not trusted
check "reload without the LAN" ctl a reload
check "the LAN goes into the tunnel, too" by_tunnel $OUTER_B4
check "the tunnel stays" answers "$NS_A" 10.99.0.2
ALLOWED=0.0.0.0/0 write_a route
check "reload without a default route of IPv6" ctl a reload
check "IPv6 is not let out beside the tunnel" grep -qi unreachable <<<"$(hops $INTERNET6)"
joined "$NS_A" 10.99.0.2
check "it ends in order" vpnd_stop a
restored "SIGTERM"

write_a route
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
vpnd_kill a
no_rules() { [ -z "$(in_ns "$NS_A" ip rule | grep 'proto 201')" ]; }
wait_for "after a crash the helper removes the rules" 5 no_rules && pass "after a crash the helper removes the rules"
restored "SIGKILL of the worker"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
kill -KILL "$(pgrep -P "$(vpnd_pid a)")"
vpnd_kill a
check "a crash of both leaves rules, which lead nowhere" by_wan $INTERNET4
printf '%s\n' 'version: 1' "identity: {private_key_file: a.key}" 'interface: {name: kcp0}' >"$RUN_DIR/a.yaml"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
check "the next start removes them, whatever it is for" no_rules
check "it ends in order" vpnd_stop a
restored "SIGKILL and restart"

# ---- kill switch ----
write_a kill_switch 'dns: {servers: [10.99.0.2]}'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 || exit 1
all_answer "IPv4 by the tunnel" "$NS_A" $INTERNET4 5 -i 0.05
all_answer "IPv6 by the tunnel" "$NS_A" $INTERNET6 5 -i 0.05
ping_stats "$NS_A" $OUTER_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3
watched "while the tunnel is up"
vpnd_kill a
watched "the worker was killed"
ping_stats "$NS_A" $OUTER_B4 3 -i 0.1 && expect "the LAN still answers" "$PING_RECEIVED" == 3
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
kill -KILL "$(pgrep -P "$(vpnd_pid a)")"
vpnd_kill a
watched "both were killed"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
check "it ends in order" vpnd_stop a
watched "it was stopped"
record leak "$NS_A" wan0 'ip or ip6'
for _ in 1 2 3 4 5 6 7 8 9 10; do try_all; done & # while it starts and stops
tries=$!
for _ in 1 2; do
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	joined "$NS_A" $INTERNET4
	vpnd_stop a
done
wait $tries
record_stop leak
leaks leak >"$RUN_DIR/leaked"
check "over starts and stops nothing left" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
check "down is the order that lifts it" ctl a down
check "then all goes as before" answers "$NS_A" $INTERNET4
check "it ends in order" vpnd_stop a
restored "down, then SIGTERM"

# ---- the endpoint is a name, and its server stands outside ----
cat >"$RUN_DIR/server.py" <<'PYTHON'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.1", 53))
print("listens", flush=True)
while True:
    data, peer = s.recvfrom(512)
    end = data.index(0, 12) + 5
    kind, asked = data[end - 3], data[12:end]
    if kind == 1:
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("192.0.2.2")
        s.sendto(data[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + asked + record, peer)
    else:
        s.sendto(data[:2] + b"\x81\x80\0\x01\0\0\0\0\0\0" + asked, peer)
PYTHON
spawn server "$NS_B" server python3 "$RUN_DIR/server.py"
wait_for "the server listens" 10 grep -q listens "$RUN_DIR/log/server.log"
printf 'nameserver 203.0.113.1\n' >"$RUN_DIR/resolv.conf"
rm -rf "$RUN_DIR/state/a" # or it would remember where the exit was, and need no name
ENDPOINT=exit.example.net write_a kill_switch 'dns: {servers: [10.99.0.2]}'
VPND_UNDER=(unshare --mount sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$RUN_DIR/resolv.conf")
record leak "$NS_A" wan0 'ip or ip6'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 && pass "an endpoint by name is found, though all else is held"
vpnd_kill a
rm -rf "$RUN_DIR/state/a"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 && pass "also after a crash, with the kill switch in force"
record_stop leak
leaks leak | grep -v 'exit\.example\.net' >"$RUN_DIR/leaked"
check "no other name was asked for outside" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
check "down" ctl a down
check "it ends in order" vpnd_stop a
restored "after all that"
