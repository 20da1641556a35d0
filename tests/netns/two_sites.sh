#!/bin/bash
# alone in release
# timeout: 120
# takes: 34 s, 4 s of CPU
#
# Two sites over a bad link: nothing is lost inside, TCP is many times faster than outside, and a ping beside a bulk
# transfer does not wait.
#
#     site A                                                                                        site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      dials     100 Mb/s, RTT 60 ms, 5 % loss each way, queue 750000 bytes = one BDP    listens
#
# Figures: the line "FIGURES" at the end, made by   tests/netns/two_sites.sh   as root.
. "$(dirname "$0")/lib_sites.sh"

lab_start --rate 100M --delay 30ms --loss 5% --queue 750000 --seed 11
network a 1 "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}}"
network b 2 "listen: [\"0.0.0.0:29900\"]" "peers: {a: {allowed_ips: [10.99.0.1, \"fd99::1\"]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

ping_through "$NS_A" 10.99.0.2 200 -i 0.05
idle=$PING_MEDIAN
expect "200 pings through the tunnel: lost" "$PING_LOST" == 0
expect "seen twice" "$PING_DUPLICATES" == 0
echo "idle, ms: min $PING_MIN, median $PING_MEDIAN, p99 $PING_P99, max $PING_MAX"
expect "the link did lose packets" "$(lab_stat ab lost_random)" '>' 0

seconds=10 pings=180
[ "$PROFILE" = release ] || seconds=4 pings=60
# From the other side at the same time; the subshell's figures come back in a file.
(
	sleep 0.5
	ping_through "$NS_B" 10.99.0.1 $pings -i 0.05
	declare -p PING_LOST PING_MEDIAN PING_P99 PING_MAX >"$RUN_DIR/beside"
) &
beside=$!
tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 $seconds || die "no TCP through the tunnel"
inner=$TCP_MBPS
wait $beside
declare -i PING_LOST
. "$RUN_DIR/beside"
expect "pings beside the transfer: lost" "$PING_LOST" == 0
echo "beside the transfer, ms: median $PING_MEDIAN, p99 $PING_P99, max $PING_MAX"

tcp_transfer cubic "$NS_A" "$NS_B" "$OUTER_B4" $seconds || die "no TCP outside the tunnel"
outer=$TCP_MBPS

if [ "$PROFILE" = release ]; then
	expect "the ping's median beside the transfer, ms" "$PING_MEDIAN" '<=' "$idle + 100"
	expect "its p99, ms" "$PING_P99" '<=' 400
	expect "TCP through the tunnel against plain TCP, Mb/s" "$inner" '>=' "10 * $outer"
fi
check "1 MB arrives as it was sent" tcp_copy "$NS_B" "$NS_A" 10.99.0.1 1000000 20
echo "FIGURES  plain TCP (cubic) $outer Mb/s, through the tunnel $inner Mb/s," \
	"ping idle $idle ms, beside the transfer median $PING_MEDIAN ms, p99 $PING_P99 ms"
check "site A ends in order" vpnd_stop a
check "site B ends in order" vpnd_stop b
