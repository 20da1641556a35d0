#!/bin/bash
# long
# timeout: 240
#
# Dynamic routing over a device for each peer: three sites in a triangle, each with a network behind it. The way between two
# of them is cut, and their traffic takes the third, without a hand on it: OSPF by BIRD, OSPF by FRR, Babel by babeld.
#
#            A 172.16.1.1                      A, B, C have tunnels to each other over the core, which routes between
#           /            \                     198.51.100.0/30 (A), .4/30 (B), .8/30 (C), and is told to lose what goes
#     kcp0-b              kcp0-c               between A and B
#         /                \
#        B 172.16.2.1 ---- C 172.16.3.1
#
# ROUTERS chooses among these: bird frr babel. BIRD, FRRLIB (its daemons) and BABELD may name programs that are installed elsewhere.
. "$(dirname "$0")/lib_sites.sh"

BIRD=${BIRD:-$(command -v bird || echo /usr/sbin/bird)}
FRRLIB=${FRRLIB:-/usr/lib/frr}
BABELD=${BABELD:-$(command -v babeld || echo /usr/sbin/babeld)}
ROUTERS=${ROUTERS:-bird frr babel}
for program in "$BIRD" "$FRRLIB/zebra" "$FRRLIB/ospfd" "$BABELD"; do
	[ -x "$program" ] || die "$program is missing; scripts/deps test-long installs it"
done
sites=(a b c)
declare -A NS
netns_new CORE core
in_ns "$CORE" sysctl -qw net.ipv4.ip_forward=1
for i in 0 1 2; do
	s=${sites[i]}
	netns_new ns "$s"
	NS[$s]=$ns
	ip link add "vt$$$s" type veth peer name "wan$$$s" || die "no veth"
	ip link set "vt$$$s" netns "$CORE" name "to_$s"
	ip link set "wan$$$s" netns "$ns" name wan0
	in_ns "$CORE" ip addr add "198.51.100.$((4 * i + 1))/30" dev "to_$s"
	in_ns "$CORE" ip link set "to_$s" up
	in_ns "$ns" ip addr add "198.51.100.$((4 * i + 2))/30" dev wan0
	in_ns "$ns" ip link set wan0 up
	in_ns "$ns" ip route add 198.51.100.0/24 via "198.51.100.$((4 * i + 1))"
	in_ns "$ns" ip addr add "172.16.$((i + 1)).1/32" dev lo
	in_ns "$ns" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	declare "${s}_key=$(native_key "$s")"
done
for i in 0 1 2; do
	peers=
	for k in 0 1 2; do
		[ $i -ne $k ] || continue
		key=${sites[k]}_key
		peers+="${peers:+, }${sites[k]}: {public_key: ${!key}, endpoints: [\"198.51.100.$((4 * k + 2)):29900\"], allowed_ips: [10.99.0.$((k + 1))]}"
	done
	native "${sites[i]}" $((i + 1)) 'listen: ["0.0.0.0:29900"]' 'session: {dead_after: 3s, keepalive: 5}' \
		'routes: {selection: interface, ingress_filter: off}' "peers: {$peers}"
	vpnd_start "${NS[${sites[i]}]}" "$RUN_DIR/${sites[i]}.yaml" || exit 1
done
joined "${NS[a]}" 10.99.0.2 || exit 1
joined "${NS[a]}" 10.99.0.3 || exit 1
joined "${NS[b]}" 10.99.0.3 || exit 1

cut() {
	in_ns "$CORE" nft -f - <<-'NFT' || die "the core cannot be told to lose packets"
		table ip cut {
			chain forward {
				type filter hook forward priority 0;
				ip saddr 198.51.100.2 ip daddr 198.51.100.6 drop
				ip saddr 198.51.100.6 ip daddr 198.51.100.2 drop
			}
		}
	NFT
}
heal() { in_ns "$CORE" nft delete table ip cut; }
via() { in_ns "${NS[a]}" ip -o route get 172.16.2.1 from 172.16.1.1 | grep -q "dev kcp0-$1"; }
direct() { via b && answers "${NS[a]}" 172.16.2.1 -I 172.16.1.1; }
by_c() { via c && answers "${NS[a]}" 172.16.2.1 -I 172.16.1.1; }
# OSPF tells news of one router no more often than each 5 s (MinLSInterval), so what is measured must not be the next news.
settle() { sleep 6; }
# failover NAME GAP: the tests themselves
failover() {
	wait_for "$1: networks find each other" 60 direct || return 1
	pass "$1: networks find each other"
	all_answer "$1: from network to network" "${NS[a]}" 172.16.2.1 20 -i 0.02 -I 172.16.1.1
	settle
	spawn "PINGS_PID[gap]" "${NS[a]}" pings-gap ping -n -D -i 0.01 -I 172.16.1.1 172.16.2.1
	sleep 0.5
	cut
	wait_for "$1: the third carries it" 30 by_c && pass "$1: the third carries it"
	pings_stop gap
	expect "$1: gap over the cut, s" "$PINGS_GAP" '<' "$2"
	heal
	wait_for "$1: back to the short way" 60 direct && pass "$1: back to the short way"
	in_ns "${NS[a]}" ip link show kcp0-b >/dev/null || fail "$1: the device stayed"
}

no_routes() { [ -z "$(in_ns "${NS[a]}" ip route show 172.16.2.1)" ]; }

# ---- OSPF by BIRD, with BFD ----
by_bird() {
	bird=()
	for i in 0 1 2; do
		s=${sites[i]}
		cat >"$RUN_DIR/$s.bird" <<EOF
router id 10.99.0.$((i + 1));
protocol device { scan time 1; }
protocol kernel { ipv4 { export filter { krt_prefsrc = 172.16.$((i + 1)).1; accept; }; import none; }; }
protocol bfd { interface "kcp0-*" { interval 100 ms; multiplier 5; }; }
protocol ospf v2 { ipv4 { export none; }; area 0 {
	interface "kcp0-*" { type ptp; hello 1; dead 3; bfd yes; };
	interface "lo" { stub; };
}; }
EOF
		spawn pid "${NS[$s]}" "bird-$s" "$BIRD" -f -c "$RUN_DIR/$s.bird" -s "$RUN_DIR/$s.ctl" -P "$RUN_DIR/$s.pid"
		bird+=("$pid")
	done
	failover "OSPF by BIRD" 3
	settle
	# the carrier: an order at one end is seen by the routing daemon at once
	spawn "PINGS_PID[gap]" "${NS[a]}" pings-gap ping -n -D -i 0.01 -I 172.16.1.1 172.16.2.1
	sleep 0.5
	ctl a down b
	wait_for "BIRD: a peer that is down by order is gone round" 30 by_c && pass "BIRD: a peer that is down by order is gone round"
	pings_stop gap
	expect "BIRD: gap, s" "$PINGS_GAP" '<' 3
	ctl a up b
	wait_for "BIRD: and back" 60 direct && pass "BIRD: and back"
	for pid in "${bird[@]}"; do end_pid "$pid" TERM 5; done
	wait_for "its routes go with it" 10 no_routes
}

# ---- OSPF by FRR ----
by_frr() {
	frr=()
	mkdir -p "$RUN_DIR/frr"
	for i in 0 1 2; do
		s=${sites[i]}
		mkdir -p "$RUN_DIR/frr/$s"
		echo "ip forwarding" >"$RUN_DIR/frr/$s/zebra.conf"
		{
			for k in 0 1 2; do
				[ $i -eq $k ] || printf '%s\n' "interface kcp0-${sites[k]}" ' ip ospf network point-to-point' ' ip ospf area 0' \
					' ip ospf dead-interval minimal hello-multiplier 4'
			done
			printf '%s\n' 'interface lo' ' ip ospf area 0' 'router ospf' " ospf router-id 10.99.0.$((i + 1))" ' timers throttle spf 0 50 500' \
				' timers throttle lsa all 50'
		} >"$RUN_DIR/frr/$s/ospfd.conf"
		chmod -R 777 "$RUN_DIR/frr/$s"
		common=(-A 127.0.0.1 -P 0 -z "$RUN_DIR/frr/$s/zserv" --vty_socket "$RUN_DIR/frr/$s")
		spawn pid "${NS[$s]}" "zebra-$s" "$FRRLIB/zebra" "${common[@]}" -f "$RUN_DIR/frr/$s/zebra.conf" -i "$RUN_DIR/frr/$s/zebra.pid"
		frr+=("$pid")
		wait_for "zebra listens" 10 test -S "$RUN_DIR/frr/$s/zserv"
		spawn pid "${NS[$s]}" "ospfd-$s" "$FRRLIB/ospfd" "${common[@]}" -f "$RUN_DIR/frr/$s/ospfd.conf" -i "$RUN_DIR/frr/$s/ospfd.pid"
		frr+=("$pid")
	done
	failover "OSPF by FRR" 3
	for pid in "${frr[@]}"; do end_pid "$pid" TERM 5; done
	wait_for "its routes go with it" 10 no_routes
}

# ---- Babel, which finds its neighbours by multicast from link-local addresses ----
by_babel() {
	babel=()
	for i in 0 1 2; do
		s=${sites[i]} devices=()
		for k in 0 1 2; do [ $i -eq $k ] || devices+=("kcp0-${sites[k]}"); done
		spawn pid "${NS[$s]}" "babeld-$s" "$BABELD" -I "$RUN_DIR/$s.babel.pid" -S "$RUN_DIR/$s.babel" -h 1 -H 1 \
			-C "redistribute local ip 172.16.$((i + 1)).1/32 allow" -C 'redistribute local deny' \
			-C "install ip 172.16.0.0/16 pref-src 172.16.$((i + 1)).1" -C 'default type tunnel' "${devices[@]}"
		babel+=("$pid")
	done
	failover "Babel" 15 # it has no faster way to miss a neighbour than hellos, once a second
	for pid in "${babel[@]}"; do end_pid "$pid" TERM 5; done
}

for router in $ROUTERS; do "by_$router"; done
