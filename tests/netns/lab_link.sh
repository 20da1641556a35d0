#!/bin/bash
# alone in release
# The emulated link itself: what the other tests and the figures rest on.
#
#     $NS_A  wan0 192.0.2.1/24  ----- lab: rate, queue, delay, loss -----  wan0 192.0.2.2/24  $NS_B
#
# timeout: 120
# takes: 15 s, 15 s of CPU
. "$(dirname "$0")/lib.sh"

lab_start --delay 10ms --seed 7

ping_stats "$NS_A" "$OUTER_B4" 100 -i 0.01 || die "no answer over IPv4"
expect "every ping comes back" "$PING_RECEIVED" == 100
expect "no RTT is under twice the delay" "$PING_MIN" '>=' 20
[ "$PROFILE" != release ] || expect "and the median is close to it, in ms" "$PING_MEDIAN" '<' 21
ping_stats "$NS_A" "$OUTER_B6" 20 -i 0.01 || die "no answer over IPv6"
expect "IPv6 passes, too" "$PING_RECEIVED" == 20
expect "the counters show these packets and no others" "$(lab_stat ab in_packets)" == 120
expect "both ways" "$(lab_stat ba out_packets)" == 120

lab_ctl reset >/dev/null
check "a loss can be set while it runs" lab_ctl set ab loss=20% delay=1ms >/dev/null
lab_ctl set ba delay=1ms >/dev/null
ping_stats "$NS_A" "$OUTER_B4" 1000 -i 0.002 -W 1
# 1000 draws at 20 %: one sigma is 12.6; the seed makes it the same number each time
expect "losses at 20 %: at least" "$PING_LOST" '>=' 150
expect "losses at 20 %: at most" "$PING_LOST" '<=' 250
expect "the counter agrees" "$(lab_stat ab lost_random)" == "$PING_LOST"

lab_ctl set both loss=0 duplicate=100% >/dev/null
ping_stats "$NS_A" "$OUTER_B4" 5 -i 0.01
expect "requests and answers twice: four answers each" "$PING_DUPLICATES" '>=' 10
lab_ctl set both duplicate=0 >/dev/null

lab_ctl outage both 60s >/dev/null
ping_stats "$NS_A" "$OUTER_B4" 3 -i 0.01 -W 0.3 >/dev/null
expect "an outage loses all" "$PING_RECEIVED" == 0
lab_ctl outage both 0 >/dev/null
ping_stats "$NS_A" "$OUTER_B4" 3 -i 0.01
expect "and ends" "$PING_RECEIVED" == 3

if lab_ctl set ab loss=nonsense 2>/dev/null; then fail "a wrong value is taken"; else pass "a wrong value is refused"; fi

# A bottleneck: what comes through is the rate, what waits is the queue.
lab_ctl set both rate=20M queue=50000 delay=5ms >/dev/null
if tcp_transfer cubic "$NS_A" "$NS_B" "$OUTER_B4" 3; then
	expect "20 Mb/s bottleneck, in Mb/s of payload: at most" "$TCP_MBPS" '<' 20
	[ "$PROFILE" != release ] || expect "at least" "$TCP_MBPS" '>' 15
	expect "the queue never grew over its limit" "$(lab_stat ab queue_bytes_most)" '<=' 50000
	expect "and filled up" "$(lab_stat ab dropped_queue)" '>' 0
fi

# What one core carries. A queue large enough keeps losses out of it.
if [ "$PROFILE" = release ]; then
	lab_ctl set both rate=0 delay=1ms >/dev/null
	tcp_transfer cubic "$NS_A" "$NS_B" "$OUTER_B4" 5 &&
		expect "throughput without a bottleneck, Mb/s" "$TCP_MBPS" '>=' 500
fi

expect "no packet was lost outside the model" "$(lab_stat lab write_errors)" == 0
check "it ends on SIGTERM" lab_stop
