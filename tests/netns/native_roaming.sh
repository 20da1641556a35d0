#!/bin/bash
# alone
# profiles: release
# timeout: 180
# takes: 40 s, 6 s of CPU
#
# A site that moves keeps its tunnel: to another address and to another port, every 3 s for 15 s each (every 5 s for 5
# minutes each in the long run), under load. No gap of a stream of pings, 100 a second at most, is longer than two round
# trips and 0.3 s, no connection inside waits for its retransmission time-out, and the far end sends a place that has not
# proven itself nothing but a challenge.
#
#     site A                                                                       site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1, .11, .12... --- lab, RTT 40 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                             its port as nftables rewrites it                     listens; what it sends is recorded
. "$(dirname "$0")/lib_sites.sh"

RTT=0.04
GAP=0.38        # 2 RTT + 0.3 s
CHALLENGE=72    # UDP payload of a datagram that holds a challenge and nothing else, at most
seconds=15 every=3
[ -z "${LONG:-}" ] || seconds=300 every=5
lab_start --rate 50M --delay 20ms --seed 4
in_ns "$NS_A" sysctl -q net.ipv4.conf.all.promote_secondaries=1 # the first address of a network may go alone

key_a=$(native_key a) key_b=$(native_key b)
native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
native b 2 'listen: ["[::]:29900"]' "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"
# What B sent to a place it had not heard the answer of: all that left within one round trip of the first datagram to
# there. In lines of "PLACE DATAGRAMS LONGEST", but for the place where A was before.
unproven() { # PCAP FIRST-PLACE
	datagrams list "$1" | awk -v rtt=$RTT -v known="$2" '$3 == 29900 {
		place = $4 ":" $5
		if (place == known) next
		if (!(place in first)) first[place] = $1
		if ($1 < first[place] + rtt) { count[place]++; if ($7 > longest[place]) longest[place] = $7 }
	} END { for (place in first) print place, count[place], longest[place] }'
}
where() { status b '.peers[0].endpoint'; }
# shellcheck disable=SC2053 # a pattern
is_at() { [[ $(where) == $1 ]]; }

# conntrack keeps what began; a flush makes the next datagram leave as the rules say now.
flush_nat() { in_ns "$NS_A" python3 -c 'import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
s.recv(1000)'; }
to_port() { # N
	there=$OUTER_A4:$((40000 + $1))
	in_ns "$NS_A" nft -f - <<-NFT
		add table ip nat
		flush table ip nat
		table ip nat {
			chain out {
				type nat hook postrouting priority 100;
				udp dport 29900 snat to $OUTER_A4:$((40000 + $1))
			}
		}
	NFT
	flush_nat
}
to_address() { # N
	in_ns "$NS_A" ip addr add "192.0.2.$((10 + $1))/24" dev wan0
	in_ns "$NS_A" ip addr del "$here/24" dev wan0
	here=192.0.2.$((10 + $1))
	there="$here:*" # whatever its port
}

busy() { [ "$(in_ns "$NS_B" ss -Htn state established 'sport = :5201' | wc -l)" -eq 2 ]; }
timeouts() { in_ns "$NS_A" nstat -asz TcpExtTCPTimeouts | awk '$1 == "TcpExtTCPTimeouts" { print $2 }'; }

roam() { # TEXT MOVE: MOVE N, for each N; B must see it there
	local text=$1 move=$2 n from until server load known before
	known=$(where)
	record "$move" "$NS_B" wan0 "udp src port 29900"
	# shellcheck disable=SC2034
	spawn server "$NS_B" "iperf-$move" iperf3 -s -1
	wait_for "iperf3 listens" 10 listens "$NS_B" 5201
	spawn load "$NS_A" "load-$move" iperf3 -c 10.99.0.2 -b 5M -t $((seconds + 1))
	wait_for "the load is connected" 10 busy
	before=$(timeouts)
	stall_start
	pings_start "$move" "$NS_A" 10.99.0.2
	for ((n = 1; n <= seconds / every; n++)); do
		from=${EPOCHREALTIME/[.,]/}
		"$move" $n
		wait_for "$text $n: B follows" 20 is_at "$there"
		until=$(awk "BEGIN { s = $every - (${EPOCHREALTIME/[.,]/} - $from) / 1e6; print (s > 0 ? s : 0) }")
		sleep "$until"
	done
	pings_stop "$move"
	stall_stop
	# Who waits for a processor for longer than TCP waits for an answer has a time-out, moved or not.
	expect "$text: retransmission time-outs inside" "$(($(timeouts) - before))" '<=' "$(awk "BEGIN { print (($STALL > 0.03) ? 4 * $seconds : 0) }")"
	reap "$load" 30
	expect "$text: how the load ended" $? == 0
	record_stop "$move"
	unproven "$RUN_DIR/$move.pcap" "$known" >"$RUN_DIR/places"
	expect "$text: places that B saw" "$(wc -l <"$RUN_DIR/places")" == $((seconds / every))
	expect "$text: longest datagram to an unproven place" "$(awk '$3 > m { m = $3 } END { print m + 0 }' "$RUN_DIR/places")" '<=' $CHALLENGE
	expect "$text: most datagrams to an unproven place" "$(awk '$2 > m { m = $2 } END { print m + 0 }' "$RUN_DIR/places")" '<=' 2
	echo "$text: $PINGS_SENT pings, $PINGS_LOST lost; a processor was waited for $STALL s at most; $(grep -E 'receiver' "$RUN_DIR/log/load-$move.log")"
	expect "$text: pings sent" "$PINGS_SENT" '>=' $((seconds * 20))
	expect "$text: longest gap, s" "$PINGS_GAP" '<=' "$(within $GAP)"
}

to_port 0 # from the beginning: the port that A's socket has is never seen outside
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
sessions=$(grep -c ': up at' "$(vpnd_log a)")
roam "another port" to_port

# A place that sends and does not hear, as one whose address is forged: nothing but challenges, and data goes on to where
# it went.
in_ns "$NS_A" ip addr add 192.0.2.66/24 dev wan0
in_ns "$NS_A" nft -f - <<-NFT
	flush table ip nat
	table ip nat {
		chain out {
			type nat hook postrouting priority 100;
			udp dport 29900 snat to 192.0.2.66:40666
		}
	}
	table ip deaf {
		chain in {
			type filter hook prerouting priority -300;
			ip daddr 192.0.2.66 drop
		}
	}
NFT
before=$(where)
record deaf "$NS_B" wan0 "udp src port 29900 and dst host 192.0.2.66"
flush_nat
in_ns "$NS_A" timeout 5 ping -n -q -i 0.01 10.99.0.2 >"$RUN_DIR/log/deaf.log" 2>&1
record_stop deaf
check "a place that does not answer: B stays" [ "$(where)" = "$before" ]
datagrams list "$RUN_DIR/deaf.pcap" | awk '{ n++; if ($7 > m) m = $7 } END { print n + 0, m + 0 }' >"$RUN_DIR/deaf"
read -r count longest <"$RUN_DIR/deaf"
expect "datagrams to it in 5 s" "$count" '<=' 15
expect "datagrams to it in 5 s" "$count" '>' 0
expect "longest datagram to it" "$longest" '<=' $CHALLENGE

# Without the translation: a move by itself.
in_ns "$NS_A" nft flush ruleset
flush_nat
in_ns "$NS_A" ping -n -q -c 3 -W 1 10.99.0.2 >"$RUN_DIR/log/moved.log" 2>&1
is_own_port() { [[ $(where) == "$OUTER_A4:"* && $(where) != "$before" ]]; }
wait_for "B follows to A's own port" 20 is_own_port
all_answer "between" "$NS_A" 10.99.0.2 20 -i 0.02

here=$OUTER_A4
in_ns "$NS_A" ip addr del 192.0.2.66/24 dev wan0
roam "another address" to_address
expect "the session is the same" "$(grep -c ': up at' "$(vpnd_log a)")" == "$sessions"
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
