#!/bin/bash
# timeout: 120
# takes: 22 s, 1 s of CPU
#
# Who calls is told by what it sends, also while the configuration changes under it. Nobody's packets go to another.
#
#        gw  10.99.0.1, listens on 192.0.2.1:29900
#      __|____________________
#     |           |           |          veth, 192.0.2.N/24 on a bridge in gw
#     c11         c12         b13
#     10.99.0.11  10.99.0.12  10.99.0.13: dials gw, and gw dials it
. "$(dirname "$0")/lib_sites.sh"

declare -A NS
netns_new GW gw
in_ns "$GW" ip link add br0 type bridge
in_ns "$GW" ip addr add 192.0.2.1/24 dev br0
in_ns "$GW" ip link set br0 up
for n in 11 12 13; do
	netns_new ns "p$n"
	NS[$n]=$ns
	in_ns "$GW" ip link add "v$n" type veth peer name wan0 netns "$ns" || die "no veth pair"
	in_ns "$GW" ip link set "v$n" master br0 up
	in_ns "$ns" ip addr add "192.0.2.$n/24" dev wan0
	in_ns "$ns" ip link set wan0 up
done
gw() { network gw 1 'listen: ["192.0.2.1:29900"]' 'session: {dead_after: 3s}' 'peers:' "${@/#/  }"; }
C11='c11: {allowed_ips: [10.99.0.11]}'
C12='c12: {allowed_ips: [10.99.0.12]}'
B13='b13: {endpoints: ["192.0.2.13:29913"], allowed_ips: [10.99.0.13]}'

gw "$C11" "$B13"
for n in 11 12; do
	network "c$n" $n 'session: {dead_after: 3s}' 'peers:' \
		'  gw: {endpoints: ["192.0.2.1:29900"], allowed_ips: [10.99.0.0/24]}'
done
network b13 13 'listen: ["192.0.2.13:29913"]' 'session: {dead_after: 3s}' 'peers:' \
	'  gw: {endpoints: ["192.0.2.1:29900"], allowed_ips: [10.99.0.0/24]}'
vpnd_start "$GW" "$RUN_DIR/gw.yaml" || exit 1
for n in 12 11; do
	vpnd_start "${NS[$n]}" "$RUN_DIR/c$n.yaml" || exit 1
done
vpnd_start "${NS[13]}" "$RUN_DIR/b13.yaml" || exit 1

# ---- both ends dial, beside the only peer that calls ----
seconds_until 10 answers "$GW" 10.99.0.11 -W 0.3
expect "the caller is there after, s" "$TOOK" '<=' 8
seconds_until 10 answers "$GW" 10.99.0.13 -W 0.3
expect "who dials and is dialled is there after, s" "$TOOK" '<=' 8
check "who is configured nowhere is not" [ "$(in_ns "$GW" ping -n -q -c 2 -W 0.3 10.99.0.12 | grep -c ' 0 received')" = 1 ]

# ---- a caller that came before it was configured ----
gw "$C11" "$C12" "$B13"
check "reload: c12 is a peer now" ctl gw reload
seconds_until 20 answers "$GW" 10.99.0.12 -W 0.3
expect "it is there after, s" "$TOOK" '<=' 15
check "the other caller is, too" answers "$GW" 10.99.0.11
check "and who is dialled" answers "$GW" 10.99.0.13

# ---- one caller is down by order: its calls are nobody's, least of all the other's ----
check "down c11" ctl gw down c11
seconds_until 5 answers "$GW" 10.99.0.12 -W 0.3
expect "c12 answers while c11 knocks, after s" "$TOOK" '<=' 4
all_answer "c12 goes on for five seconds" "$GW" 10.99.0.12 25 -i 0.2
in_ns "${NS[11]}" ping -n -q -c 10 -i 0.2 -W 0.2 10.99.0.1 >/dev/null 2>&1
check "c12 still answers" answers "$GW" 10.99.0.12
check "up c11" ctl gw up c11
seconds_until 20 answers "$GW" 10.99.0.11 -W 0.3
expect "c11 is back after, s" "$TOOK" '<=' 12

# ---- addresses are exchanged under the callers ----
gw 'c11: {allowed_ips: [10.99.0.12]}' 'c12: {allowed_ips: [10.99.0.11]}' "$B13"
check "reload: exchanged addresses" ctl gw reload
for n in 11 12; do
	seconds_until 20 answers "$GW" "10.99.0.$n" -W 0.3
	expect "10.99.0.$n answers after, s" "$TOOK" '<=' 12
done
gw "$C11" "$C12" "$B13"
check "reload: as before" ctl gw reload
seconds_until 20 answers "$GW" 10.99.0.11 -W 0.3
expect "10.99.0.11 answers after, s" "$TOOK" '<=' 12

# ---- another address to listen on: what is left of old calls goes with the socket ----
for round in 1 2 3; do
	sed -i 's/listen: .*/listen: ["[::]:29900"]/' "$RUN_DIR/gw.yaml"
	check "reload $round: listen on all addresses" ctl gw reload
	sed -i 's/listen: .*/listen: ["192.0.2.1:29900"]/' "$RUN_DIR/gw.yaml"
	check "reload $round: listen on one" ctl gw reload
done
for n in 11 12 13; do
	seconds_until 20 answers "$GW" "10.99.0.$n" -W 0.3
	expect "10.99.0.$n answers after, s" "$TOOK" '<=' 12
done

# ---- somebody sets the link down ----
in_ns "$GW" ip link set kcp0 down
check "status sees it" [ "$(status gw .state)" = down ]
check "up" ctl gw up
seconds_until 20 answers "$GW" 10.99.0.12 -W 0.3
expect "and all is back after, s" "$TOOK" '<=' 12
for name in gw c11 c12 b13; do
	check "$name ends in order" vpnd_stop "$name"
done
