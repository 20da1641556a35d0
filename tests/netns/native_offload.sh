#!/bin/bash
# timeout: 300
# takes: 70 s, 40 s of CPU
#
# Offloads of the TUN device, on and off at each end: what comes out is what went in, whatever was cut, carried and put
# together on the way, and no host sees a wrong checksum. Behind B stands a host on a device that has no offloads, so B's
# kernel cuts and sums what vpnd gave it.
#
#     site A                                                        site B                            host C
#     10.99.0.1 kcp0 - vpnd - wan0 --- lab, 200 Mb/s --- wan0 - vpnd - kcp0, lan0 10.98.0.1 --- 10.98.0.2 eth0
#       fd99::1                                                          fd98::1                  fd98::2
. "$(dirname "$0")/lib_sites.sh"

NS_C=''
# In percent, of a busy machine: its queues drop what waits for a processor. Wrong cuts and sums lose all.
UDP_LOSS=60
MB=10
[ "$PROFILE" = release ] || UDP_LOSS=95 MB=4
TOOLS=$(dirname "$0")/tools

counters() { # NS tx|rx: bytes and packets that the device was given or gave
	in_ns "$1" ip -s -j link show dev kcp0 | jq -r ".[0].stats64.$2 | \"\(.bytes) \(.packets)\""
}
mean_bytes() { # NS tx|rx BYTES PACKETS: length of a packet since the counters were these
	counters "$1" "$2" | awk -v b="$3" -v p="$4" '{ print (($2 > p) ? int(($1 - b) / ($2 - p)) : 0) }'
}
# Of TCP, UDP over both families and ICMP.
wrong_sums() {
	in_ns "$1" cat /proc/net/snmp /proc/net/snmp6 | awk '
		/^(Tcp|Udp|Icmp): [A-Z]/ { split($0, name); next }
		/^(Tcp|Udp|Icmp):/ { for (i = 2; i <= NF; i++) if (name[i] ~ /CsumErrors/) sum += $i }
		/CsumErrors/ && !/:/ { sum += $2 }
		END { print sum + 0 }'
}

udp_copy() { # CLIENT SERVER ADDRESS: UDP of full size, whose receiver counts what it lost
	local server_pid
	spawn server_pid "$2" iperf3-server iperf3 -s -1
	wait_for "iperf3 listens" 10 listens "$2" 5201 || return 1
	in_ns "$1" timeout 20 iperf3 -J -u -b 5M -l 1200 -t 2 -c "$3" >"$RUN_DIR/udp.json" 2>&1
	reap "$server_pid" 5
	end_pid "$server_pid" TERM 5 2>/dev/null
	expect "UDP from $1 to $3: lost, %" "$(jq -r '.end.sum.lost_percent' "$RUN_DIR/udp.json")" '<=' "$UDP_LOSS"
}

wired() { # TEXT OFFLOAD_A OFFLOAD_B
	local text=$1 key_a key_b before_a before_b mean_a mean_b
	key_a=$(native_key a) key_b=$(native_key b)
	native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\", 10.98.0.0/24, \"fd98::/64\"]}}"
	native b 2 'listen: ["[::]:29900"]' \
		"peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
	sed -i "s/interface: {/interface: {offload: $2, /" "$RUN_DIR/a.yaml"
	sed -i "s/interface: {/interface: {offload: $3, /" "$RUN_DIR/b.yaml"
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	joined "$NS_A" 10.99.0.2 || exit 1
	expect "$text: A says so" "$(status a .interface.offload)" == "$2"
	expect "$text: B says so" "$(status b .interface.offload)" == "$3"
	check "$text: warm" tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 2
	# How much goes at once depends on the flow, which may get little of a busy machine: the best of three.
	local try
	for try in 1 2 3; do
		before_a=$(counters "$NS_A" tx) before_b=$(counters "$NS_B" rx)
		check "$text: TCP over IPv4" tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 3
		# shellcheck disable=SC2086
		mean_a=$(mean_bytes "$NS_A" tx $before_a) mean_b=$(mean_bytes "$NS_B" rx $before_b)
		[[ ($2 = true && $mean_a -le 3000) || ($3 = true && $mean_b -le 1500) ]] || break
	done
	printf '      %s: %s Mb/s\n' "$text" "$TCP_MBPS"
	if [ "$2" = true ]; then
		expect "$text: A's host hands over many segments at once" "$mean_a" '>' 3000
	else
		expect "$text: A's host hands over single packets" "$mean_a" '<=' 1500
	fi
	if [ "$3" = true ]; then
		expect "$text: and B's gets many" "$mean_b" '>' 1500
	else
		expect "$text: and B's gets single packets" "$mean_b" '<=' 1500
	fi
	check "$text: $MB MB over IPv4, as it was sent" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 ${MB}000000 60
	check "$text: $MB MB back over IPv6" tcp_copy "$NS_B" "$NS_A" fd99::1 ${MB}000000 60
	check "$text: $MB MB over IPv4 to the host behind B" tcp_copy "$NS_A" "$NS_C" 10.98.0.2 ${MB}000000 60
	check "$text: $MB MB over IPv6 to it" tcp_copy "$NS_A" "$NS_C" fd98::2 ${MB}000000 60
	check "$text: $MB MB back from it" tcp_copy "$NS_C" "$NS_A" 10.99.0.1 ${MB}000000 60
	udp_copy "$NS_A" "$NS_B" 10.99.0.2
	udp_copy "$NS_A" "$NS_C" fd98::2
	udp_copy "$NS_C" "$NS_A" fd99::1
	for ns in "$NS_A" "$NS_B" "$NS_C"; do
		expect "$text: wrong checksums seen in $ns" "$(wrong_sums "$ns")" == 0
	done
	for site in a b; do
		expect "$text: nothing of the other side was malformed at $site" \
			"$(status $site '[.peers[0].drops | to_entries[] | select(.key | test("^in_")) | .value] | add // 0')" == 0
	done
	vpnd_stop a
	vpnd_stop b
	rm -f "$RUN_DIR"/state/*/*.peers
}

lab_start --rate 200M --delay 2ms --seed 5
netns_new NS_C c
ip link add lan0 netns "$NS_B" type veth peer name eth0 netns "$NS_C" || die "no pair of devices"
in_ns "$NS_B" python3 "$TOOLS/no_offload.py" lan0 || die "lan0 keeps its offloads"
in_ns "$NS_C" python3 "$TOOLS/no_offload.py" eth0 || die "eth0 keeps its offloads"
in_ns "$NS_B" sh -c 'ip addr add 10.98.0.1/24 dev lan0 && ip addr add fd98::1/64 dev lan0 nodad && ip link set lan0 up &&
	sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1' || die "B does not forward"
in_ns "$NS_C" sh -c 'ip addr add 10.98.0.2/24 dev eth0 && ip addr add fd98::2/64 dev eth0 nodad && ip link set eth0 up &&
	ip route add default via 10.98.0.1 && ip -6 route add default via fd98::1' || die "C has no network"
wired "on and on" true true
# Sanitizers see all of the code in the two where both do the same.
if [ "$PROFILE" = release ] || [ -n "${LONG:-}" ]; then
	wired "on and off" true false
	wired "off and on" false true
fi
wired "off and off" false false
