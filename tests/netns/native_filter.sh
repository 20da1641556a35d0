#!/bin/bash
# timeout: 120
#
# Which inner addresses a peer has is for the configuration to say, whoever the peer is: allowed_ips that overlap are
# refused, at the start and by a reload, and a packet whose source is not the sender's is dropped and counted. Packets
# out go to the peer with the longest prefix and to nobody else. Both families.
#
#                    gw  10.99.0.1, fd99::1, listens on 192.0.2.1:29900, forwards between peers
#      ______________|________________
#     |              |                |        veth, 192.0.2.N/24 on a bridge in gw
#     c11            c12              c13
#     10.99.0.11     10.99.0.12       10.99.0.13
#     10.81.0.0/16   10.82.0.0/24     10.82.1.0/25, fd83::/48
. "$(dirname "$0")/lib_sites.sh"

declare -A NS
netns_new GW gw
in_ns "$GW" ip link add br0 type bridge
in_ns "$GW" ip addr add 192.0.2.1/24 dev br0
in_ns "$GW" ip link set br0 up
in_ns "$GW" sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for n in 11 12 13; do
	netns_new ns "p$n"
	NS[$n]=$ns
	in_ns "$GW" ip link add "v$n" type veth peer name wan0 netns "$ns" || die "no veth pair"
	in_ns "$GW" ip link set "v$n" master br0 up
	in_ns "$ns" ip addr add "192.0.2.$n/24" dev wan0
	in_ns "$ns" ip link set wan0 up
done
inside() { in_ns "${NS[$1]}" ip addr add "$2" dev lo; }
inside 11 10.81.7.7/32
inside 12 10.82.0.200/32
inside 13 10.82.1.127/32
inside 13 fd83::7/128

# ---- the configuration of the gateway: prefixes of each caller ----
gateway() { # PREFIXES-OF-C11 OF-C12 OF-C13
	native gw 1 'listen: ["192.0.2.1:29900"]' 'peers:' \
		"  c11: {public_key: $(native_key c11), allowed_ips: [10.99.0.11, \"fd99::11\", $1]}" \
		"  c12: {public_key: $(native_key c12), allowed_ips: [10.99.0.12, \"fd99::12\", $2]}" \
		"  c13: {public_key: $(native_key c13), allowed_ips: [10.99.0.13, \"fd99::13\", $3]}"
}
refused() { # TEXT PATTERN
	in_ns "$GW" timeout 10 "$BIN/vpnd" -c "$RUN_DIR/gw.yaml" --control "$RUN_DIR/control/none.sock" \
		>"$RUN_DIR/said" 2>&1
	expect "$1: exit status" $? == 5
	check "$1: both peers and the place are named" grep -qE "gw.yaml:[0-9]+:[0-9]+: $2" "$RUN_DIR/said"
	check "$1: nothing was made" [ -z "$(in_ns "$GW" ip -o link show kcp0 2>/dev/null)" ]
}
gateway 10.81.0.0/16 10.81.3.0/24 10.82.1.0/25
refused "a part of another's prefix" 'peers\.c12\.allowed_ips.*: 10\.81\.3\.0/24 overlaps 10\.81\.0\.0/16 of peers\.c11'
gateway 10.81.0.0/16 10.82.0.0/24 10.82.0.0/24
refused "the same prefix twice" 'peers\.c13\.allowed_ips.*: 10\.82\.0\.0/24 overlaps 10\.82\.0\.0/24 of peers\.c12'
gateway '"fd83:0:0:1::/64"' 10.82.0.0/24 '"fd83::/48"'
refused "IPv6, a prefix around another's" 'peers\.c1[13]\.allowed_ips.*: fd83.* overlaps fd83.* of peers\.c1[13]'

# ---- the network ----
good() { gateway 10.81.0.0/16 10.82.0.0/24 '10.82.1.0/25, "fd83::/48"'; }
good
for n in 11 12 13; do
	native "c$n" $n 'peers:' "  gw: {public_key: $(native_key gw), endpoints: [\"192.0.2.1:29900\"]," \
		'    allowed_ips: [10.99.0.0/24, "fd99::/64", 10.80.0.0/12, "fd80::/12"]}'
done
vpnd_start "$GW" "$RUN_DIR/gw.yaml" || exit 1
for n in 11 12 13; do
	vpnd_start "${NS[$n]}" "$RUN_DIR/c$n.yaml" || exit 1
done
for n in 11 12 13; do
	wait_for "10.99.0.$n is there" 10 answers "$GW" "10.99.0.$n"
done

gateway 10.81.0.0/16 10.81.3.0/24 10.82.1.0/25
ctl gw reload >"$RUN_DIR/said" 2>&1
expect "overlap by a reload: exit status" $? == 5
check "overlap by a reload: it says why" grep -q 'overlaps' "$RUN_DIR/said"
good
all_answer "the network goes on" "${NS[12]}" 10.99.0.1 5 -i 0.01

# ---- out: the longest prefix decides, and nobody gets another's packets ----
rx() { status "$1" '.peers[0].rx_packets'; }
before12=$(rx c12) before13=$(rx c13)
all_answer "a network of c11" "$GW" 10.81.7.7 10 -i 0.01
all_answer "a network of c12" "$GW" 10.82.0.200 10 -i 0.01
all_answer "the last address of c13's network" "$GW" 10.82.1.127 10 -i 0.01
all_answer "IPv6 to c13's network" "$GW" fd83::7 10 -i 0.01
# Ping may have asked a little more often than needed, but not twice as often.
expect "c12 got its own packets only" "$(($(rx c12) - before12))" '<' 20
expect "c13 got its own packets only" "$(($(rx c13) - before13))" '<' 40
all_answer "from peer to peer through the gateway" "${NS[11]}" 10.99.0.12 10 -i 0.01

# ---- in: whoever says to be another is not heard ----
expect "nothing was dropped so far" "$(dropped gw c11 in_source)" == 0
host_saw() { in_ns "$GW" ip -s -j link show kcp0 | jq '.[0].stats64.rx.packets'; }
spoof() { # TEXT FALSE-ADDRESS DESTINATION
	local before seen reached
	before=$(dropped gw c11 in_source) seen=$(host_saw) reached=$(rx c12)
	in_ns "${NS[11]}" ping -n -q -c 5 -i 0.02 -W 1 -I "$2" "$3" >"$RUN_DIR/spoof" 2>&1
	check "$1: no answer" grep -qE '(^|, )5 packets transmitted, 0 received' "$RUN_DIR/spoof"
	expect "$1: dropped and counted" "$(dropped gw c11 in_source) - $before" == 5
	expect "$1: the gateway's host has seen none of them" "$(host_saw) - $seen" == 0
	expect "$1: nor has a peer" "$(rx c12) - $reached" == 0
}
inside 11 10.82.0.66/32
inside 11 10.99.0.12/32
inside 11 172.16.0.1/32
inside 11 fd83::66/128
spoof "an address of c12's network" 10.82.0.66 10.99.0.1
spoof "the address of c12 itself, towards c13" 10.99.0.12 10.99.0.13
spoof "an address of nobody" 172.16.0.1 10.99.0.1
spoof "an IPv6 address of c13's network" fd83::66 fd99::1
expect "c12 has nothing to do with it" "$(dropped gw c12 in_source)" == 0
all_answer "c11 itself goes on" "${NS[11]}" 10.99.0.1 5 -i 0.01 -I 10.81.7.7

# A reload moves a prefix to another peer: from now on it is that one's, and only that one's.
gateway 10.81.0.0/16 '10.82.0.0/26' '10.82.0.64/26, "fd83::/48"'
check "a reload gives a part of c12's network to c13" ctl gw -q reload
in_ns "${NS[12]}" ping -n -q -c 5 -i 0.02 -W 1 -I 10.82.0.200 10.99.0.1 >"$RUN_DIR/spoof" 2>&1
check "what c12 has no more is not heard from it" grep -q ' 0 received' "$RUN_DIR/spoof"
expect "and counted" "$(dropped gw c12 in_source)" == 5
for name in gw c11 c12 c13; do
	check "$name ends in order" vpnd_stop $name
done
