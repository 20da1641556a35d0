#!/bin/bash
# profiles: release asan tsan
# timeout: 240
#
# Daemons with two workers, whose hosts put datagrams together as they come in from a router that sends them one by one. The
# two shards of a session have one pair of addresses, so the kernel glues datagrams of both into one run, and gives it to
# the socket of the first: the rest must still come to the thread that it belongs to. Nothing is lost by that, neither data nor
# a handshake.
#
#     site A 10.99.0.1 - wan0 fd01::1 --- fd01::2 router fd02::1 --- wan0 fd02::2 - B 10.99.0.2
#     segments in software; GRO                                      the same
. "$(dirname "$0")/lib_sites.sh"

netns_new NS_A a
netns_new NS_B b
netns_new NS_R r
features() { # NS DEVICE CHANGE...
	in_ns "$1" python3 "$(dirname "$0")/tools/device_features.py" "${@:2}" || die "$2 keeps its features"
}
# A veth device looks for runs only in what comes from one that could not have sent them.
SINGLE=(tx-udp-segmentation=off tx-tcp-segmentation=off tx-tcp6-segmentation=off tx-tcp-ecn-segmentation=off
	tx-tcp-mangleid-segmentation=off)
cable() { # NS ADDRESS DEVICE-AT-R ADDRESS-OF-R
	in_ns "$1" ip link add wan0 type veth peer name "$3" netns "$NS_R" || die "no veth pair"
	in_ns "$1" ip addr add "$2/64" dev wan0 nodad
	in_ns "$1" ip link set wan0 up
	in_ns "$NS_R" ip addr add "$4/64" dev "$3" nodad
	in_ns "$NS_R" ip link set "$3" up
	in_ns "$1" ip route add default via "$4" dev wan0
	# What a real device would have to send is cut before it gets there, and what comes is put together again.
	features "$1" wan0 "${SINGLE[@]}" rx-gro=on
	features "$NS_R" "$3" "${SINGLE[@]}" rx-gro=off
}
in_ns "$NS_R" sysctl -q net.ipv6.conf.all.forwarding=1
cable "$NS_A" fd01::1 toa fd01::2
cable "$NS_B" fd02::2 tob fd02::1

queues() { # NAME
	sed -i "s/interface: {name: kcp0,/interface: {name: kcp0, queues: 2,/" "$RUN_DIR/$1.yaml"
}
native b 2 'listen: ["[::]:29900"]' \
	"peers: {a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
native a 1 \
	"peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"[fd02::2]:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}}"
queues a
queues b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

handed() { status "$1" '[.interface.workers[].datagrams_handed_on] | add'; }
warned() { # NAME TEXT: the number at the head of that warning
	status "$1" "[.warnings[] | select(contains(\"$2\")) | split(\" \")[0] | tonumber] | add // 0"
}

# Both shards send at once; again, until runs were mixed often enough on a machine that may be busy.
for round in 1 2 3 4 5 6; do
	tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 2 -P 8 || die "no transfer"
	echo "round $round: to B $TCP_MBPS Mb/s, handed on there: $(handed b)"
	tcp_transfer cubic "$NS_B" "$NS_A" 10.99.0.1 2 -P 8 || die "no transfer"
	echo "round $round: to A $TCP_MBPS Mb/s, handed on there: $(handed a)"
	[ "$(handed b)" -lt 20 ] || [ "$(handed a)" -lt 20 ] || break
done
expect "datagrams that came to the other thread's socket at B" "$(handed b)" '>=' 20
expect "and at A" "$(handed a)" '>=' 20
for site in a b; do
	expect "lost at $site for the wrong thread had them" "$(warned $site 'wrong thread')" == 0
	expect "lost at $site between the threads, of 1000 handed on" \
		"$(warned $site 'from one worker to another') * 1000 / ($(handed $site) + 1)" '<=' 20
done
# At a rate that neither end is short of time at, nothing at all is lost.
retransmits() { status "$1" '.peers[0].retransmits'; }
before=$(retransmits a) sent_before=$(status a '.peers[0].tx_packets')
tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 3 -P 8 -b 3M || die "no transfer"
expect "sent again by A, of 1000 packets" \
	"($(retransmits a) - $before) * 1000 / ($(status a '.peers[0].tx_packets') - $sent_before)" '<=' 10
ping_through "$NS_A" 10.99.0.2 50 -i 0.02
expect "lost pings" "$PING_LOST" == 0

# ---- a handshake behind data ----
# B is killed and comes back while A sends: its answers and calls arrive among runs.
vpnd_kill b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
check "2 MB from A to B" tcp_copy "$NS_A" "$NS_B" 10.99.0.2 2000000 30
check "2 MB from B to A" tcp_copy "$NS_B" "$NS_A" 10.99.0.1 2000000 30
