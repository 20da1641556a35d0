#!/bin/bash
# alone
# timeout: 120
# takes: 30 s, 2 s of CPU
#
# Two joined daemons that have nothing to do use next to no CPU: only signs of life wake them up.
#
#     site A: dials --- lab, RTT 20 ms --- site B: listens      dead_after 9 s: a sign of life each 3 s
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 10ms
network a 1 "session: {dead_after: 9s}" "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
network b 2 'session: {dead_after: 9s}' 'listen: ["0.0.0.0:29900"]' 'peers: {a: {allowed_ips: [10.99.0.1]}}'
# Neighbour discovery and the like would be traffic of the hosts' own.
in_ns "$NS_A" sysctl -q net.ipv6.conf.default.router_solicitations=0
in_ns "$NS_B" sysctl -q net.ipv6.conf.default.router_solicitations=0
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
all_answer "it works" "$NS_A" 10.99.0.2 10 -i 0.05
sleep 2 # the last acknowledgements

# Ticks of 10 ms, and how often a thread went to sleep: each wake-up ends so.
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$(vpnd_pid "$1")/stat"; }
sleeps() { awk '/^voluntary/ { n += $2 } END { print n }' "/proc/$(vpnd_pid "$1")"/task/*/status; }
seconds=10
[ -z "${LONG:-}" ] || seconds=600
for name in a b; do
	declare "ticks_$name=$(ticks $name)" "sleeps_$name=$(sleeps $name)"
done
sent=$(lab_stat ab in_packets)
sleep $seconds
for name in a b; do
	was=ticks_$name
	expect "CPU of $name in $seconds s, ticks of 10 ms" "$(ticks $name) - ${!was}" '<=' "1 + $seconds / 100"
	was=sleeps_$name
	# A sign of life each way takes five: two timers, what comes, what is acknowledged.
	expect "wake-ups of $name in $seconds s" "$(sleeps $name) - ${!was}" '<=' "5 * (1 + $seconds / 3)"
done
expect "datagrams from A to B in $seconds s" "$(lab_stat ab in_packets) - $sent" '<=' "2 * $seconds"
expect "signs of life do go" "$(lab_stat ab in_packets) - $sent" '>' 0
all_answer "the tunnel is there all the same" "$NS_A" 10.99.0.2 10 -i 0.05

# A daemon whose peer is away dials again each 2 s, no more.
vpnd_stop b
wait_for "A has noticed" 25 peer_is a b connecting
was=$(ticks a)
sleep 4
expect "CPU of a daemon that dials in vain for 4 s, ticks" "$(ticks a) - $was" '<=' 2
check "A ends in order" vpnd_stop a
