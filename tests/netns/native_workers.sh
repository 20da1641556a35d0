#!/bin/bash
# profiles: release asan tsan
# timeout: 240
# takes: 14 s, 6 s of CPU
#
# Daemons with two workers: each has a queue of the device, a socket and a shard of the session, and both carry flows. Beside
# a daemon with one worker, whose peer has to send all on one shard. A reload, a peer that comes back, orders and the end while
# packets pass.
#
#     site A 10.99.0.1 -- 192.0.2.1 ------- 192.0.2.2 --.
#     site C 10.99.0.3 -- 203.0.113.3 --- 203.0.113.2 -- B  10.99.0.2, two workers
. "$(dirname "$0")/lib_sites.sh"

netns_new NS_A a
netns_new NS_B b
netns_new NS_C c
cable() { # NS ADDRESS DEVICE-AT-B ADDRESS-OF-B
	in_ns "$1" ip link add wan0 type veth peer name "$3" netns "$NS_B" || die "no veth pair"
	in_ns "$1" ip addr add "$2/24" dev wan0
	in_ns "$1" ip link set wan0 up
	in_ns "$NS_B" ip addr add "$4/24" dev "$3"
	in_ns "$NS_B" ip link set "$3" up
}
cable "$NS_A" 192.0.2.1 toa 192.0.2.2
cable "$NS_C" 203.0.113.3 toc 203.0.113.2

queues() { # NAME COUNT
	sed -i "s/interface: {name: kcp0,/interface: {name: kcp0, queues: $2,/" "$RUN_DIR/$1.yaml"
}
hub() { # LINE...
	native b 2 'listen: ["[::]:29900"]' 'peers:' \
		"  a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1, \"fd99::1\"]}" \
		"  c: {public_key: \"$(native_key c)\", allowed_ips: [10.99.0.3, \"fd99::3\"]}" "$@"
	queues b 2
}
site() { # NAME N ADDRESS-OF-B QUEUES
	native "$1" "$2" \
		"peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"$3:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}}"
	queues "$1" "$4"
}
hub
site a 1 192.0.2.2 2
site c 3 203.0.113.2 1
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
vpnd_start "$NS_C" "$RUN_DIR/c.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
joined "$NS_C" 10.99.0.2 || exit 1
expect "queues of A" "$(status a .interface.queues)" == 2
expect "queues of B" "$(status b .interface.queues)" == 2
expect "queues of C" "$(status c .interface.queues)" == 1
expect "threads of B beside the main one" "$(cat /proc/"$(vpnd_pid b)"/task/*/comm | grep -c '^vpnd/')" == 1

# Packets that queue I of NAME took and gave.
queue() { status "$1" ".interface.workers[$2] | .rx_packets + .tx_packets"; }

# ---- many flows ----
many() { # TEXT NS ADDRESS
	local i failed=0 pids=()
	for ((i = 0; i < 8; i++)); do
		in_ns "$2" ping -c 20 -i 0.02 -W 2 -q -s $((100 + i * 150)) "$3" >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || failed=$((failed + 1))
	done
	expect "$1: pings that had no answer at all" "$failed" == 0
}
for round in 1 2 3; do
	check "1 MB from A to B, $round" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 1000000 30
	check "1 MB from B to A, IPv6, $round" tcp_copy "$NS_B" "$NS_A" fd99::1 1000000 30
	check "1 MB from C to B, $round" tcp_copy "$NS_C" "$NS_B" 10.99.0.2 1000000 30
	check "1 MB from B to C, IPv6, $round" tcp_copy "$NS_B" "$NS_C" fd99::3 1000000 30
done
many "A" "$NS_A" 10.99.0.2
tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 3 -P 8 || die "no transfer"
echo "eight flows: $TCP_MBPS Mb/s"
tcp_transfer cubic "$NS_C" "$NS_B" 10.99.0.2 2 -P 4 || die "no transfer"
echo "four flows of who has one worker: $TCP_MBPS Mb/s"
for site in a b; do
	for i in 0 1; do
		expect "packets of queue $i of $site" "$(queue $site $i)" '>=' 500
	done
done
expect "packets of both, in the status of the peer" "$(status b '.peers[] | select(.name == "a") | .rx_packets')" '>=' \
	"$(status a '.peers[0].tx_packets') * 9 / 10"
expect "nothing malformed, replayed, forged, or sent by who does not own it" \
	"$(status b '[.peers[].drops | to_entries[] | select(.key | test("data_|handshake_|in_")) | .value] | add // 0')" == 0

# ---- changes while packets pass ----
pings_start ab "$NS_A" 10.99.0.2
pings_start cb "$NS_C" 10.99.0.2
for ((i = 0; i < 8; i++)); do
	hub "  d$i: {public_key: \"$(native_key "d$((i % 4))")\", allowed_ips: [10.99.1.$i]}"
	[ $((i % 2)) = 0 ] || hub
	ctl b reload >/dev/null || fail "reload $i"
	status b .peers >/dev/null
done
ctl b down c >/dev/null
sleep 0.5
ctl b up c >/dev/null
joined "$NS_C" 10.99.0.2
pings_stop ab
expect "lost of pings through reloads ($PINGS_SENT)" "$PINGS_LOST" '<=' 1
pings_stop cb
check "C carries again" tcp_copy "$NS_C" "$NS_B" 10.99.0.2 1000000 30

# ---- a peer that is killed and comes back ----
vpnd_kill a
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
many "A again" "$NS_A" 10.99.0.2
check "1 MB from A to B again" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 1000000 30
check "1 MB back" tcp_copy "$NS_B" "$NS_A" 10.99.0.1 1000000 30

# ---- the end, under load ----
spawn SERVER "$NS_A" server iperf3 -s -1
sleep 0.3
spawn LOAD "$NS_B" load iperf3 -c 10.99.0.1 -t 20 -P 4
sleep 1
check "B ends in order" vpnd_stop b
check "A ends in order" vpnd_stop a
check "C ends in order" vpnd_stop c
end_pid "$LOAD" TERM 5 || true # by itself, when its connection went
end_pid "$SERVER" TERM 5 || true
