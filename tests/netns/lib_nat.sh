# shellcheck shell=bash
# Sites behind translators, for the tests of vpnd. Sources lib_sites.sh; makes the namespace $NET with a bridge.
#
#   join NS NAME ADDRESS         connects NS to the bridge by its device wan0
#   behind NAT NS DEVICE NAT-ADDRESS ADDRESS
#                                puts NS behind NAT: its wan0 is DEVICE there
#   translate NAT ADDRESS FIRST-PORT LAST-PORT
#                                UDP leaves NAT from there; what comes for nobody is dropped in silence
#   rebind NAT ADDRESS PORT      another port; what NAT knew is forgotten
. "$(dirname "${BASH_SOURCE[0]}")/lib_sites.sh"

netns_new NET net
in_ns "$NET" ip link add br0 type bridge
in_ns "$NET" ip link set br0 up
join() {
	in_ns "$NET" ip link add "to-$2" type veth peer name wan0 netns "$1" || die "no veth pair"
	in_ns "$NET" ip link set "to-$2" master br0 up
	in_ns "$1" ip addr add "$3/24" dev wan0
	in_ns "$1" ip link set wan0 up
}
behind() {
	in_ns "$1" ip link add "$3" type veth peer name wan0 netns "$2" || die "no veth pair"
	in_ns "$1" ip addr add "$4/32" dev "$3"
	in_ns "$1" ip link set "$3" up
	in_ns "$1" ip route add "$5" dev "$3"
	in_ns "$2" ip addr add "$5/24" dev wan0
	in_ns "$2" ip link set wan0 up
	in_ns "$2" ip route add default via "$4" onlink dev wan0
	in_ns "$1" sysctl -q net.ipv4.ip_forward=1
}
translate() {
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
rebind() {
	translate "$1" "$2" "$3" "$3"
	in_ns "$1" python3 -c 'import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
s.recv(1000)'
}
