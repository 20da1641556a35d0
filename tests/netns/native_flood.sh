#!/bin/bash
# alone
# profiles: release
# timeout: 150
# takes: 65 s, 100 s of CPU
#
# Strangers who know the public key throw 50 000 INITs a second at the daemon, from the second core. A transfer that is
# paced to 100 Mb/s keeps 0.8 of what it has while the same flood goes to another port of the same host (runs
# interleaved, medians). One that goes as fast as it can keeps SHARE: what handshakes and data take of one core they take from
# each other, but not each other's room in the queue. A peer with a valid key is in
# within 5 s; answers are never longer than what caused them, and those who do not know the key hear nothing; after a
# million of INITs that the daemon read and that opened nothing it is at most 1 MiB larger.
#
#     site A 10.99.0.1 -- 192.0.2.1 ------- 192.0.2.2 --.
#     site C 10.99.0.3 -- 203.0.113.3 --- 203.0.113.2 -- B  vpnd on port 29900, 10.99.0.2
#     flood               198.51.100.66 --- 198.51.100.2 --'
. "$(dirname "$0")/lib_sites.sh"

RATE=50000
RUNS=3
SHARE=0.5
netns_new NS_A a
netns_new NS_B b
netns_new NS_C c
netns_new NS_F f
cable() { # NS ADDRESS DEVICE-AT-B ADDRESS-OF-B
	in_ns "$1" ip link add wan0 type veth peer name "$3" netns "$NS_B" || die "no veth pair"
	in_ns "$1" ip addr add "$2/24" dev wan0
	in_ns "$1" ip link set wan0 up
	in_ns "$NS_B" ip addr add "$4/24" dev "$3"
	in_ns "$NS_B" ip link set "$3" up
}
cable "$NS_A" 192.0.2.1 toa 192.0.2.2
cable "$NS_C" 203.0.113.3 toc 203.0.113.2
cable "$NS_F" 198.51.100.66 tof 198.51.100.2

site() { # NAME N ADDRESS-OF-B
	native "$1" "$2" "peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"$3:29900\"], allowed_ips: [10.99.0.2]}}"
}
native b 2 'listen: ["[::]:29900"]' 'peers:' \
	"  a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1]}" \
	"  c: {public_key: \"$(native_key c)\", allowed_ips: [10.99.0.3]}"
site a 1 192.0.2.2
site c 3 203.0.113.2
VPND_UNDER=(taskset -c 0)
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
VPND_UNDER=()
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

# Datagrams that programs in B's namespace read, which is vpnd there, and those that did not fit into their queues.
udp_counts() {
	read -r READ LOST < <(in_ns "$NS_B" cat /proc/net/snmp | awk '$1 == "Udp:" { if (!read) for (i = 2; i <= NF; i++) {
		if ($i == "InDatagrams") read = i; if ($i == "RcvbufErrors") lost = i } else print $read, $lost }')
}
flood_start() { # PORT COUNT [strange]
	rm -f "$RUN_DIR/log/flood.log"
	udp_counts
	spawn FLOOD "$NS_F" flood taskset -c 1 "$BIN/init_flood" "$(native_key b)" 198.51.100.2 "$1" $RATE "${@:2}"
}
# What the flooder sent, SENT; of that B's host had no room for LOST, and the daemon read READ.
flood_end() {
	local read=$READ lost=$LOST
	end_pid "$FLOOD" TERM 5
	read -r SENT SPEED ANSWERS ANSWER_BYTES <"$RUN_DIR/log/flood.log"
	udp_counts
	READ=$((READ - read)) LOST=$((LOST - lost))
	echo "flood: $SENT INITs, $SPEED a second, $READ read, $LOST lost in B's host; $ANSWERS answers with $ANSWER_BYTES bytes"
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
# shellcheck disable=SC2086
transfer() { tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 3 $PACE || die "no transfer"; }

# ---- a transfer beside the flood ----
compare() { # TEXT LEAST [LEAST-SHARE-READ]
	local hit=() beside=() i other
	for ((i = 0; i < RUNS; i++)); do
		flood_start 29901 10000000
		transfer
		flood_end
		expect "$1: a flood of the other port, INITs a second" "$SPEED" '>=' $((RATE * 8 / 10))
		beside+=("$TCP_MBPS") other=$READ
		flood_start 29900 10000000
		transfer
		flood_end
		expect "$1: a flood of the daemon, INITs a second" "$SPEED" '>=' $((RATE * 8 / 10))
		hit+=("$TCP_MBPS")
		[ $# -lt 3 ] || expect "$1: INITs that the daemon read" "$READ - $other" '>=' "$3 * $SENT"
		expect "$1: answers" "$ANSWERS" '>' 0
		expect "bytes of answers for $((SENT * 184)) of requests" "$ANSWER_BYTES" '<=' $((SENT * 184))
		expect "bytes of an answer" "$((ANSWERS ? ANSWER_BYTES / ANSWERS : 0))" '<=' 184
	done
	echo "$1: Mb/s beside a flood of another port: ${beside[*]}; of the daemon: ${hit[*]}"
	expect "$1: what is left of a transfer" \
		"$(awk "BEGIN { printf \"%.2f\", $(median "${hit[@]}") / $(median "${beside[@]}") }")" '>=' "$2"
}
PACE='-b 100M'
compare "100 Mb/s" 0.8 0.8
PACE='' RUNS=${LONG:+5}
RUNS=${RUNS:-3}
compare "as fast as it goes" "$SHARE"

# ---- a peer that comes while the flood goes on; a million INITs that open nothing ----
before=$(rss_kb b)
flood_start 29900 1100000
vpnd_start "$NS_C" "$RUN_DIR/c.yaml" || exit 1
seconds_until 10 answers "$NS_C" 10.99.0.2 -W 0.2
expect "a new peer is in after, s" "$TOOK" '<=' 5
check "the flood still goes on" is_ours "$FLOOD"
reap "$FLOOD" 60
flood_end
expect "bytes of answers for $((SENT * 184)) of requests" "$ANSWER_BYTES" '<=' $((SENT * 184))
expect "answers" "$ANSWERS" '>' 0
expect "INITs that the daemon read and that opened nothing" "$READ" '>=' 1000000
expect "the daemon grew by, KiB" "$(rss_kb b) - $before" '<=' 1024

# ---- who does not know the key ----
flood_start 29900 50000 strange
reap "$FLOOD" 30
flood_end
expect "answers to INITs with a wrong mac1" "$ANSWERS" == 0
for_others=$(status b '.warnings[]' | sed -n 's/ handshakes were made for another public key.*//p')
expect "status says how many of them it saw" "${for_others:-0}" '>=' 45000
all_answer "A goes on" "$NS_A" 10.99.0.2 10 -i 0.02
all_answer "C goes on" "$NS_C" 10.99.0.2 10 -i 0.02
for name in a c b; do
	check "$name ends in order" vpnd_stop $name
done
