#!/bin/bash
# profiles: release
# timeout: 120
# takes: 12 s, 7 s of CPU
#
# What was recorded comes again, from another address and port: INIT, RESP, COOKIE and DATA of both directions, in order
# and shuffled, while the session lives, after it was closed and after the site that was called has forgotten everything.
# The endpoint does not move, no memory grows, nothing but what could answer an INIT is said, and the true peer does not
# notice.
#
#     site A                                                                             site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 10 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      calls    |                                                listens
#     stranger 192.0.3.3 _______| (routed by A's host)
. "$(dirname "$0")/lib_sites.sh"

flood='' replayer='' rss_b='' # set by name below

lab_start --rate 100M --delay 5ms --seed 6
netns_new NS_C c
in_ns "$NS_A" ip link add to_c type veth peer name wan0 netns "$NS_C" || die "no veth pair"
in_ns "$NS_A" ip addr add 192.0.3.1/24 dev to_c
in_ns "$NS_A" ip link set to_c up
in_ns "$NS_C" ip addr add 192.0.3.3/24 dev wan0
in_ns "$NS_C" ip link set wan0 up
in_ns "$NS_C" ip route add default via 192.0.3.1
in_ns "$NS_A" sysctl -q net.ipv4.ip_forward=1
in_ns "$NS_B" ip route add 192.0.3.0/24 via "$OUTER_A4"

PORT_A=29901
key_a=$(native_key a) key_b=$(native_key b)
native a 1 "listen: [\"0.0.0.0:$PORT_A\"]" \
	"peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1

# ---- the record: a flood makes B ask for a cookie, then both hold a session for a while ----
record all "$NS_B" wan0 "udp and host $OUTER_A4"
record flooded "$NS_C" wan0 "udp and src host $OUTER_B4"
spawn flood "$NS_C" flood python3 "$ROOT/tests/netns/tools/datagrams.py" flood "$key_b" "$OUTER_B4" 29900 600 60
asks_for_cookies() { datagrams list "$RUN_DIR/flooded.pcap" | grep -q ' COOKIE '; }
wait_for "B asks for cookies" 20 asks_for_cookies && pass "B asks for cookies"
from=${EPOCHREALTIME/[.,]/}
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
echo "joined under a flood after $(((${EPOCHREALTIME/[.,]/} - from) / 1000)) ms"
end_pid "$flood" TERM 5
record_stop flooded
all_answer "a session" "$NS_A" 10.99.0.2 100 -i 0.01
check "and a transfer" tcp_copy "$NS_B" "$NS_A" 10.99.0.1 300000 20
record_stop all
datagrams list "$RUN_DIR/all.pcap" >"$RUN_DIR/list"
for type in INIT RESP COOKIE DATA; do
	expect "recorded: $type" "$(grep -c " $type " "$RUN_DIR/list")" '>' 0
done

# ---- again, while the session lives ----
replay() { # TIMES [WORD...]
	local times=$1 name replayers=()
	shift
	rm -f "$RUN_DIR"/log/replay-?.log
	spawn replayer "$NS_C" replay-b python3 "$ROOT/tests/netns/tools/datagrams.py" replay "$RUN_DIR/all.pcap" "$OUTER_B4" \
		29900 "to=29900" "from=4321" "times=$times" "$@"
	replayers+=("$replayer")
	spawn replayer "$NS_C" replay-a python3 "$ROOT/tests/netns/tools/datagrams.py" replay "$RUN_DIR/all.pcap" "$OUTER_A4" \
		$PORT_A "to=$PORT_A" "from=4322" "times=$times" "$@"
	replayers+=("$replayer")
	for replayer in "${replayers[@]}"; do
		reap "$replayer" 60 || fail "a replay failed"
	done
	for name in a b; do
		expect "datagrams replayed to $name, $times times" "$(cat "$RUN_DIR/log/replay-$name.log")" '>' 50
	done
}
where() { status "$1" '.peers[0].endpoint'; }
age() { status "$1" '.peers[0].handshake_age_s'; }
at_a=$(where a) at_b=$(where b)
replay 1 # what is grown on first use is there now
for name in a b; do
	declare "rss_$name=$(rss_kb $name)" "replays_$name=$(status $name '.peers[0].drops.data_replay // 0')" "age_$name=$(age $name)"
done
since=$SECONDS
record answers "$NS_C" wan0 udp
pings_start beside "$NS_A" 10.99.0.2
replay 2
replay 4 shuffle pause=0.0002
pings_stop beside
expect "of $PINGS_SENT pings beside it were lost" "$PINGS_LOST" == 0
record_stop answers
check "A's endpoint of B is the same" [ "$(where a)" = "$at_a" ]
check "B's endpoint of A is the same" [ "$(where b)" = "$at_b" ]
for name in a b; do
	was=replays_$name
	expect "$name counts what came again" "$(status $name '.peers[0].drops.data_replay') - ${!was}" '>=' 600
	was=rss_$name
	expect "memory of $name, KiB more" "$(rss_kb $name) - ${!was}" '<=' 256
	was=age_$name
	expect "$name: the session is the same, s" "$(age $name)" '>=' "${!was} + $SECONDS - $since - 1"
	expect "$name: nothing is told to be malformed" "$(status $name '.peers[0].drops.data_malformed // 0')" == 0
done

# What the stranger was told, against what he sent; by type.
told() { # FILE
	datagrams list "$1" | awk '$2 == "192.0.3.3" { in_bytes += $7 } $2 != "192.0.3.3" { out_bytes += $7; types[$6]++ }
		END { for (t in types) text = text " " types[t] " " t; print in_bytes + 0, out_bytes + 0, text }'
}
read -r in_bytes out_bytes types < <(told "$RUN_DIR/answers.pcap")
echo "the stranger sent $in_bytes bytes and was told $out_bytes bytes:${types:- nothing}"
check "the stranger got no DATA" [ "$(grep -c DATA <<<"$types")" = 0 ]
expect "bytes told to the stranger" "$out_bytes" '<=' "$(datagrams list "$RUN_DIR/answers.pcap" |
	awk '$2 == "192.0.3.3" && $6 == "INIT" { n += $7 } END { print n + 0 }')"

# ---- after A has closed the session ----
check "A ends in order" vpnd_stop a
wait_for "B knows that A went" 3 peer_is b a idle connecting
record closed "$NS_C" wan0 udp
replay 2
record_stop closed
check "nobody is up by a record" peer_is b a idle connecting
check "the stranger got no DATA" [ "$(datagrams list "$RUN_DIR/closed.pcap" | awk '$2 != "192.0.3.3"' | grep -c DATA)" = 0 ]
expect "memory of b, KiB more" "$(rss_kb b) - $rss_b" '<=' 256

# ---- after B has forgotten which INITs it had seen ----
vpnd_kill b
rm -f "$RUN_DIR/state/b/b.peers"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
spawn replayer "$NS_C" replayer python3 "$ROOT/tests/netns/tools/datagrams.py" replay "$RUN_DIR/all.pcap" "$OUTER_B4" \
	29900 to=29900 type=INIT,DATA times=40 pause=0.001
sleep 0.5
check "nobody is up by a record" peer_is b a idle connecting
from=${EPOCHREALTIME/[.,]/}
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
seconds_until 10 answers "$NS_A" 10.99.0.2 -W 0.2
expect "A joins while its old INITs come again, s" "$TOOK" '<=' 2
all_answer "the session" "$NS_A" 10.99.0.2 50 -i 0.02
check "B's endpoint of A is A's" [ "$(where b)" = "$at_b" ]
check "the replay lasted" is_ours "$replayer"
end_pid "$replayer" TERM 5
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
