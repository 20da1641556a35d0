#!/bin/bash
# profiles: release
# timeout: 90
#
# Behind translators: one gives its site another port every 10 s, and pings go on; another forgets who is silent for 27 s,
# and a site whose keepalive is `auto` stays reachable behind it without traffic, one without keepalive does not. A
# site that has a public address sends no keepalive.
#
#     A  10.0.1.2 --- nat1  192.0.2.11   changes the port ________
#     C  10.0.2.2 --- nat2  192.0.2.12   forgets after 27 s       |__ bridge --- B  192.0.2.2, listens
#     D  10.0.2.3 ---/                                            |
#     E  192.0.2.14  ____________________________________________|
#
#     inside: A 10.99.0.1, B 10.99.0.2, C .3, D .4 (keepalive off), E .5
. "$(dirname "$0")/lib_sites.sh"

FORGETS=27
netns_new NET net
in_ns "$NET" ip link add br0 type bridge
in_ns "$NET" ip link set br0 up
join() { # NAMESPACE NAME ADDRESS: to the bridge
	in_ns "$NET" ip link add "to-$2" type veth peer name wan0 netns "$1" || die "no veth pair"
	in_ns "$NET" ip link set "to-$2" master br0 up
	in_ns "$1" ip addr add "$3/24" dev wan0
	in_ns "$1" ip link set wan0 up
}
netns_new NS_B b
join "$NS_B" b 192.0.2.2
netns_new NS_E e
join "$NS_E" e 192.0.2.14
netns_new NAT1 nat1
join "$NAT1" nat1 192.0.2.11
netns_new NAT2 nat2
join "$NAT2" nat2 192.0.2.12
behind() { # NAT NAMESPACE DEVICE-OF-NAT ADDRESS-OF-NAT ADDRESS
	in_ns "$1" ip link add "$3" type veth peer name wan0 netns "$2" || die "no veth pair"
	in_ns "$1" ip addr add "$4/32" dev "$3"
	in_ns "$1" ip link set "$3" up
	in_ns "$1" ip route add "$5" dev "$3"
	in_ns "$2" ip addr add "$5/24" dev wan0
	in_ns "$2" ip link set wan0 up
	in_ns "$2" ip route add default via "$4" onlink dev wan0
	in_ns "$1" sysctl -q net.ipv4.ip_forward=1
}
netns_new NS_A a
behind "$NAT1" "$NS_A" lan0 10.0.1.1 10.0.1.2
netns_new NS_C c
behind "$NAT2" "$NS_C" lan0 10.0.2.1 10.0.2.2
netns_new NS_D d
behind "$NAT2" "$NS_D" lan1 10.0.2.1 10.0.2.3

translate() { # NAT ADDRESS FIRST-PORT LAST-PORT
	in_ns "$1" nft -f - <<-NFT
		add table ip nat
		flush table ip nat
		table ip nat {
			chain out {
				type nat hook postrouting priority 100;
				oifname wan0 ip protocol udp snat to $2:$3-$4
			}
		}
		add table ip wall
		flush table ip wall
		table ip wall {
			chain in {
				type filter hook input priority 0;
				iifname wan0 ip protocol udp drop
			}
		}
	NFT
}
rebind() { # PORT: what nat1 knew is forgotten
	translate "$NAT1" 192.0.2.11 "$1" "$1"
	in_ns "$NAT1" python3 -c 'import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
s.recv(1000)'
}
rebind 40000
translate "$NAT2" 192.0.2.12 50000 50999
in_ns "$NAT2" sysctl -q net.netfilter.nf_conntrack_udp_timeout=$FORGETS net.netfilter.nf_conntrack_udp_timeout_stream=$FORGETS

peers=''
for site in a:1 c:3 d:4 e:5; do
	native_key ${site%:*} >/dev/null
	peers+="${peers:+, }${site%:*}: {public_key: \"$(native_key ${site%:*})\", allowed_ips: [10.99.0.${site#*:}]}"
	keepalive=auto
	[ ${site%:*} != d ] || keepalive=off
	native ${site%:*} ${site#*:} "session: {keepalive: $keepalive}" \
		"peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"192.0.2.2:29900\"], allowed_ips: [10.99.0.2]}}"
done
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {$peers}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
for site in c:NS_C d:NS_D e:NS_E a:NS_A; do
	ns=${site#*:}
	vpnd_start "${!ns}" "$RUN_DIR/${site%:*}.yaml" || exit 1
	joined "${!ns}" 10.99.0.2 || exit 1
done
not() { ! "$@"; }
at() { status b ".peers[] | select(.name == \"$1\") | .endpoint"; }
check "B sees C behind its translator" grep -q '^192\.0\.2\.12:50' <<<"$(at c)"
check "B reaches C while it is fresh" answers "$NS_B" 10.99.0.3
check "B reaches D while it is fresh" answers "$NS_B" 10.99.0.4
idle_since=$SECONDS
record e "$NS_E" wan0 "udp dst port 29900"

# ---- nat1 ----
a_is_at() { [ "$(at a)" = "192.0.2.11:$1" ]; }
[ -z "${LONG:-}" ] || rounds=30
for ((n = 1; n <= ${rounds:-3}; n++)); do
	pings_start a "$NS_A" 10.99.0.2
	sleep 1
	rebind $((40000 + n))
	sleep 9
	check "rebinding $n: B follows" a_is_at $((40000 + n))
	pings_stop a
	expect "rebinding $n: longest gap, s" "$PINGS_GAP" '<=' 0.4
	expect "rebinding $n: lost of $PINGS_SENT pings" "$PINGS_LOST" '<=' 40
done
# Who is called is not asked by anybody: it finds the new port when it speaks itself, or with the next keepalive.
expect "handshakes of A" "$(grep -c ': up at' "$(vpnd_log a)")" == 1

# ---- nat2 ----
rest=$((FORGETS + 12 - (SECONDS - idle_since))) # a last answer goes 10 s after the last packet
[ $rest -le 0 ] || sleep $rest
check "B reaches C, idle for longer than its translator remembers" answers "$NS_B" 10.99.0.3
check "B does not reach D, which sends no keepalive" not answers "$NS_B" 10.99.0.4
check "D is back as soon as it speaks" joined "$NS_D" 10.99.0.2
check "B reaches it again" answers "$NS_B" 10.99.0.4
record_stop e
# 10 s after the last packet there is one answer to it, and the search for the path's MTU may go on for some seconds.
expect "datagrams of E, whose address is public, after 12 s of silence" \
	"$(datagrams list "$RUN_DIR/e.pcap" | awk 'NR == 1 { t = $1 } $1 > t + 14' | wc -l)" == 0
for site in a c d e b; do check "$site ends in order" vpnd_stop $site; done
