#!/bin/bash
# alone
# profiles: release
# timeout: 300
# takes: 100 s, 27 s of CPU
#
# A gateway with many peers, 1000 here and 10 000 in the long run, played by one process: it restarts in order, and it is
# killed and started again. All peers are back within a minute, and the packets of those that are back arrive meanwhile.
# Then what the daemon takes of a core: with all of them idle (10 000), and when they send two packets a second (3000).
#
#     crowd, many peers ---- veth, 192.0.2.0/24 ---- gw  listens on 192.0.2.1:29900
#     outside 10.64.0.1 and up                           inside 10.128.255.254/16
#     inside 10.128.0.1 and up
. "$(dirname "$0")/lib_sites.sh"

# Fewer senders share fewer rounds, so a third of them costs more than a third.
peers=1000 senders=1000 senders_percent=11
[ -z "${LONG:-}" ] || peers=10000 senders=3000 senders_percent=17
netns_new GW gw
netns_new NS_CROWD crowd
in_ns "$NS_CROWD" ip link add wan0 type veth peer name wan0 netns "$GW" || die "no veth pair"
in_ns "$GW" ip addr add 192.0.2.1/24 dev wan0
in_ns "$GW" ip link set wan0 up
in_ns "$NS_CROWD" ip addr add 192.0.2.2/24 dev wan0
in_ns "$NS_CROWD" ip link set wan0 up
in_ns "$NS_CROWD" ip route add local 10.64.0.0/16 dev lo
in_ns "$GW" ip route add 10.64.0.0/16 via 192.0.2.2
# Nobody reads what comes to the discard port, but somebody has it, or the host would answer by ICMP.
spawn SINK "$GW" sink python3 -c 'import signal, socket
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind(("", 9))
signal.pause()'

gateway_for() { # COUNT
	NETWORK_ADDRESSES=10.128.255.254/16
	native gw 1 'listen: ["192.0.2.1:29900"]' "$("$BIN/crowd" peers "$1" 10.128.0.0)"
}
crowd_start() { # COUNT GAP_US
	rm -f "$RUN_DIR/crowd.in"
	mkfifo "$RUN_DIR/crowd.in"
	# Both ends, so that neither waits for the other.
	exec {CROWD_IN}<>"$RUN_DIR/crowd.in"
	# shellcheck disable=SC2016
	spawn CROWD "$NS_CROWD" crowd sh -c 'exec "$0" call "$@" <&3' "$BIN/crowd" "$1" 10.128.0.0 10.64.0.0 "$(native_key gw)" \
		192.0.2.1:29900 10.128.255.254 "$2" 25 3<"$RUN_DIR/crowd.in"
}
tell() { printf '%s\n' "$1" >&"$CROWD_IN"; }
seen() { tail -n 1 "$RUN_DIR/log/crowd.log" | jq -r ".$1"; }
seen_is() { [ "$(seen "$1")" -ge "$2" ] 2>/dev/null; }
# Seconds of CPU of all threads of the daemon.
cpu_s() { awk '{ n += $1 } END { print n / 1e9 }' "/proc/$(vpnd_pid gw)"/task/*/schedstat; }
percent_over() { # SECONDS
	local from
	from=$(cpu_s)
	sleep "$1"
	awk -v a="$from" -v b="$(cpu_s)" -v s="$1" 'BEGIN { printf "%.2f\n", (b - a) * 100 / s }'
}

gateway_start() {
	vpnd_start "$GW" "$RUN_DIR/gw.yaml" || exit 1
	# Where the machine stands still for a moment, the host's own answers are not to be what is lost.
	in_ns "$GW" ip link set kcp0 txqueuelen 20000
}
begin() { # COUNT
	gateway_for "$1"
	gateway_start
	crowd_start "$1" 1000
	wait_for "all $1 are up" 120 seen_is up "$1" || exit 1
}
finish() {
	check "the gateway ends in order" vpnd_stop gw
	end_pid "$CROWD" TERM 10
	exec {CROWD_IN}>&-
	rm -f "$RUN_DIR/log/crowd.log"
}

# ---- restarts ----
begin $peers
tell 'ping 5000 64'
tell mark
wait_for "all have an answer" 20 seen_is back $peers

restarted() { # TEXT
	# What was on its way when the daemon ended is not counted.
	tell mark
	sleep 2
	wait_for "$1: all are back" 90 seen_is back $peers
	expect "$1: all $peers are back after, s" "$(seen back_ms) / 1000" '<=' 60
	expect "$1: pings of those that were back" "$(seen held)" '>' 0
	expect "$1: of these without an answer for 5 s" "$(seen missed)" '<=' "$(seen held) / 50"
}
check "the gateway ends in order" vpnd_stop gw
gateway_start
restarted "restart"
vpnd_kill gw
gateway_start
restarted "killed while all send"
tell 'ping 0 0'
sleep 3
vpnd_kill gw
gateway_start
all_up() { [ "$(status gw '[.peers[] | select(.state | IN("up", "degraded"))] | length')" = $peers ]; }
seconds_until 90 all_up
expect "killed while all are silent: all $peers are back after, s" "$TOOK" '<=' 60

# ---- what they take of a core ----
wait_for "quiet again" 60 seen_is up $peers
sleep 8
expect "$peers idle peers, keepalives of 25 s, % of a core" "$(percent_over 10)" '<=' "$peers / 10000 + 1"
expect "memory of a peer, all included, bytes" "($(rss_kb gw) - 8192) * 1024 / $peers" '<=' 16384
finish
begin $senders
tell 'send 500 200'
sleep 8
expect "$senders peers that send twice a second, % of a core" "$(percent_over 10)" '<=' "$senders_percent"
finish
