#!/bin/bash
# timeout: 120
# takes: 37 s, 2 s of CPU
#
# Peers come back by themselves: after a crash of either end, an outage, another address, another default route; how
# long each takes is printed. session.dead_after is 3 s here; a peer is dialled anew 2 s after that at the latest, and
# at once when a local address changed.
#
#     site A                                                                             site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 20 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      dials                                                         listens; then both dial
. "$(dirname "$0")/lib_sites.sh"

DEAD_AFTER=3
lab_start --delay 10ms --seed 5

# Asks in short steps, so that what is measured is the tunnel and not ping.
through() { answers "$NS_A" 10.99.0.2 -W 0.2; }
back() { # TEXT BOUND
	seconds_until 20 through
	if [ "$PROFILE" = release ]; then
		expect "$1: back after, s" "$TOOK" '<=' "$2"
	else
		expect "$1: back after, s" "$TOOK" '>=' 0
	fi
}
# The tunnel as it is in use: the conversations have settled.
settle() { all_answer "in use" "$NS_A" 10.99.0.2 10 -i 0.05; }

scenes() { # NAME-OF-A NAME-OF-B WHO-DIALS
	local a=$1 b=$2 who=$3
	settle
	vpnd_kill "$b"
	vpnd_start "$NS_B" "$RUN_DIR/$b.yaml" || exit 1
	back "$who: B crashed and was started again" $((DEAD_AFTER + 2))
	settle

	vpnd_kill "$a"
	vpnd_start "$NS_A" "$RUN_DIR/$a.yaml" || exit 1
	back "$who: A crashed and was started again" $((DEAD_AFTER + 2))
	settle

	check "$who: B ends in order" vpnd_stop "$b"
	sleep 4 # it is away for longer than dead_after
	check "$who: A has noticed" peer_is "$a" b connecting
	vpnd_start "$NS_B" "$RUN_DIR/$b.yaml" || exit 1
	back "$who: B was away for 4 s" 3
	settle

	lab_ctl outage both 5s >/dev/null
	sleep 5
	back "$who: an outage of 5 s has ended" 3
	settle
}

network a 1 "session: {dead_after: ${DEAD_AFTER}s}" \
	"peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
network b 2 "session: {dead_after: ${DEAD_AFTER}s}" 'listen: ["[::]:29900"]' \
	'peers: {a: {allowed_ips: [10.99.0.1]}}'
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
scenes a b "A dials"

# A short outage is no reason to begin anew: what was sent is repeated, nothing is lost.
before=$(grep -c 'peer b: up at' "$(vpnd_log a)")
lab_ctl outage both 1s >/dev/null
all_answer "an outage of 1 s: pings sent meanwhile" "$NS_A" 10.99.0.2 10 -i 0.1
expect "the conversation is the same" "$(grep -c 'peer b: up at' "$(vpnd_log a)")" == "$before"

# The dialling end's address changes, as a laptop's does. Its packets leave the new way at once; the other end follows
# when the old conversation has been silent for 2 s.
in_ns "$NS_A" ip addr del "$OUTER_A4/24" dev wan0
in_ns "$NS_A" ip addr add 192.0.2.7/24 dev wan0
seconds_until 5 grep -q 'the way to it changed' "$(vpnd_log a)"
expect "the address changed: dialled anew after, s" "$TOOK" '<=' 1
back "the address changed" 3
check "the other end sees the new address" \
	[ "$(status b '.peers[0].endpoint' | sed 's/:[0-9]*$//; s/^\[::ffff:\(.*\)\]$/\1/')" = 192.0.2.7 ]
settle
before=$(grep -c 'peer b: up at' "$(vpnd_log a)")
in_ns "$NS_A" ip addr add 198.51.100.1/24 dev lo
settle
expect "an address that does not matter changes nothing" "$(grep -c 'peer b: up at' "$(vpnd_log a)")" == "$before"
in_ns "$NS_A" ip addr add "$OUTER_A4/24" dev wan0
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b

# Both dial each other: each sends on its own conversation.
network a2 1 'listen: ["0.0.0.0:29900"]' "session: {dead_after: ${DEAD_AFTER}s}" \
	"peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
network b2 2 'listen: ["0.0.0.0:29900"]' "session: {dead_after: ${DEAD_AFTER}s}" \
	"peers: {a: {endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_A" "$RUN_DIR/a2.yaml" || exit 1
vpnd_start "$NS_B" "$RUN_DIR/b2.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
scenes a2 b2 "both dial"
check "A ends in order" vpnd_stop a2
check "B ends in order" vpnd_stop b2
