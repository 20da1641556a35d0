#!/bin/bash
# timeout: 120
#
# One gateway, peers that call it and are told apart by their inner addresses, one that it dials, and one that nobody
# knows. Packets go to the peer whose prefix they fall into; what comes with another's address is dropped and counted.
#
#                    gw  10.99.0.1, listens on 192.0.2.1:29900, forwards between peers
#      ______________|_______________________________________________
#     |              |              |              |                 |    veth, 192.0.2.N/24 on a bridge in gw
#     c11            c12            c13            d14               x77
#     10.99.0.11     10.99.0.12     10.99.0.13     10.99.0.14        10.99.0.77 is nobody's
#     10.81.0.0/16   10.82.0.0/24   10.82.1.0/25   10.82.1.128/25
#                                   fd83::/48      is dialled
. "$(dirname "$0")/lib_sites.sh"

declare -A NS
netns_new GW gw
in_ns "$GW" ip link add br0 type bridge
in_ns "$GW" ip addr add 192.0.2.1/24 dev br0
in_ns "$GW" ip link set br0 up
in_ns "$GW" sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for n in 11 12 13 14 77; do
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
inside 14 10.82.1.128/32

# ---- what is refused ----
network clash 1 'listen: ["192.0.2.1:29900"]' 'peers:' \
	'  c11: {allowed_ips: [10.99.0.11, 10.81.0.0/16]}' \
	'  c12: {allowed_ips: [10.99.0.12, 10.81.3.0/24]}'
in_ns "$GW" "$BIN/vpnd" -c "$RUN_DIR/clash.yaml" --control "$RUN_DIR/control/clash.sock" >"$RUN_DIR/clash.out" 2>&1
expect "overlapping allowed_ips: exit status" $? == 5
check "the message names both peers and the place" \
	grep -qE 'clash.yaml:[0-9]+:[0-9]+: .*10\.81\.3\.0/24 overlaps 10\.81\.0\.0/16 of peers\.c11' "$RUN_DIR/clash.out"
check "nothing was made" [ -z "$(in_ns "$GW" ip -o link show kcp0 2>/dev/null)" ]

# ---- the network ----
network gw 1 'listen: ["192.0.2.1:29900"]' 'peers:' \
	'  c11: {allowed_ips: [10.99.0.11, "fd99::11", 10.81.0.0/16]}' \
	'  c12: {allowed_ips: [10.99.0.12, "fd99::12", 10.82.0.0/24]}' \
	'  c13: {allowed_ips: [10.99.0.13, "fd99::13", 10.82.1.0/25, "fd83::/48"]}' \
	'  d14: {endpoints: ["192.0.2.14:29914"], allowed_ips: [10.99.0.14, "fd99::14", 10.82.1.128/25]}'
for n in 11 12 13 77; do
	network "c$n" $n 'peers:' '  gw:' '    endpoints: ["192.0.2.1:29900"]' \
		'    allowed_ips: [10.99.0.0/24, "fd99::/64", 10.80.0.0/12, "fd80::/12"]'
done
network d14 14 'listen: ["192.0.2.14:29914"]' \
	'peers: {gw: {allowed_ips: [10.99.0.0/24, "fd99::/64", 10.80.0.0/12]}}'
vpnd_start "$GW" "$RUN_DIR/gw.yaml" || exit 1
check "a peer that is waited for is idle" peer_is gw c12 idle
for n in 12 11 13; do
	vpnd_start "${NS[$n]}" "$RUN_DIR/c$n.yaml" || exit 1
done
vpnd_start "${NS[14]}" "$RUN_DIR/d14.yaml" || exit 1

# The gateway speaks first: the callers' opening packets have told it who is who.
for n in 11 12 13 14; do
	wait_for "10.99.0.$n is there" 10 answers "$GW" "10.99.0.$n"
done
for n in 11 12 13; do
	check "c$n is up at its own address" [ "$(status gw ".peers[] | select(.name == \"c$n\") | (.state | sub(\"degraded\"; \"up\")), .endpoint" |
		sed 's/:[0-9]*$//' | tr '\n' ' ')" = "up 192.0.2.$n " ]
done
check "d14 is up where it was dialled" [ "$(status gw '.peers[] | select(.name == "d14") | (.state | sub("degraded"; "up")), .endpoint' |
	tr '\n' ' ')" = "up 192.0.2.14:29914 " ]
check "the network is up" [ "$(status gw '.state | sub("degraded"; "up")')" = up ]

# ---- the longest prefix decides, and nobody gets another's packets ----
rx() { status "$1" '.peers[0].rx_packets'; }
before12=$(rx c12) before13=$(rx c13) before14=$(rx d14)
all_answer "a network of c11" "$GW" 10.81.7.7 10 -i 0.01
all_answer "a network of c12" "$GW" 10.82.0.200 10 -i 0.01
all_answer "the last address of c13's network" "$GW" 10.82.1.127 10 -i 0.01
all_answer "the first address of d14's network" "$GW" 10.82.1.128 10 -i 0.01
all_answer "IPv6 to c13's network" "$GW" fd83::7 10 -i 0.01
# Ping may have asked a little more often than needed, but not twice as often.
expect "c12 got its own packets only" "$(($(rx c12) - before12))" '<' 20
expect "c13 got its own packets only" "$(($(rx c13) - before13))" '<' 30
expect "d14 got its own packets only" "$(($(rx d14) - before14))" '<' 20
all_answer "from peer to peer through the gateway" "${NS[11]}" 10.99.0.12 10 -i 0.01
all_answer "from a caller to one that is dialled" "${NS[13]}" 10.99.0.14 10 -i 0.01

unreachable() { in_ns "$GW" ping -n -c 1 -W 2 "$1" 2>&1 | tee "$RUN_DIR/log/unreachable.log" | grep -qi 'unreachable'; }
check "an address that no peer has is unreachable, and the sender is told" unreachable 10.99.0.200
check "the status counts that" [ "$(status gw '.warnings[]' | grep -c 'no peer')" = 1 ]

# ---- strangers' addresses ----
in_ns "${NS[11]}" ip addr add 10.82.0.66/32 dev lo # of c12's network
host_saw() { in_ns "$GW" ip -s -j link show kcp0 | jq '.[0].stats64.rx.packets'; }
expect "nothing was dropped so far" "$(dropped gw c11 in_source)" == 0
seen=$(host_saw)
in_ns "${NS[11]}" ping -n -q -c 5 -i 0.02 -W 1 -I 10.82.0.66 10.99.0.1 >"$RUN_DIR/spoof" 2>&1
check "a packet with another peer's address gets no answer" grep -q ' 0 received' "$RUN_DIR/spoof"
expect "it was dropped and counted" "$(dropped gw c11 in_source)" == 5
expect "c12 has nothing to do with it" "$(dropped gw c12 in_source)" == 0
expect "the gateway's host has seen none of them" "$(host_saw) - $seen" == 0
all_answer "c11 itself goes on" "${NS[11]}" 10.99.0.1 5 -i 0.01

# ---- a caller that nobody knows ----
vpnd_start "${NS[77]}" "$RUN_DIR/c77.yaml" || exit 1
in_ns "${NS[77]}" ping -n -q -c 5 -i 0.1 -W 1 10.99.0.1 >"$RUN_DIR/stranger" 2>&1
check "a caller with an address of nobody gets nothing through" grep -q ' 0 received' "$RUN_DIR/stranger"
expect "every peer is still up" "$(status gw '[.peers[] | select(.state | IN("up", "degraded"))] | length')" == 4
for n in 11 12 13 14; do
	all_answer "the others do not notice: $n" "$GW" "10.99.0.$n" 5 -i 0.01
done

# ---- all at once ----
copies=()
for n in 11 12 13 14; do
	in_ns "${NS[$n]}" timeout 20 nc -l 5300 >"$RUN_DIR/got.$n" &
	copies+=($!)
	wait_for "nc listens on $n" 5 listens "${NS[$n]}" 5300
done
head -c 1000000 /dev/urandom >"$RUN_DIR/sent"
for n in 11 12 13 14; do
	in_ns "$GW" timeout 20 nc -N "10.99.0.$n" 5300 <"$RUN_DIR/sent" &
	copies+=($!)
done
wait "${copies[@]}"
for n in 11 12 13 14; do
	check "1 MB to 10.99.0.$n while the others transfer, too" cmp -s "$RUN_DIR/sent" "$RUN_DIR/got.$n"
done
for name in c11 c12 c13 c77 d14 gw; do
	check "$name ends in order" vpnd_stop $name
done
