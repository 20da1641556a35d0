#!/bin/bash
# alone
# profiles: release
# timeout: 240
#
# A gateway with many peers, 1000 here and 10 000 in the long run, played by one process: it restarts in order, and it is
# killed and started again. All peers are back within a minute, and the packets of those that are back arrive meanwhile.
# Then what the daemon takes of a core: with all of them idle (10 000), and when they send two packets a second (3000).
#
#     crowd, many peers ---- veth, 192.0.2.0/24 ---- gw  listens on 192.0.2.1:29900
#     outside 10.64.0.1 and up                           inside 10.128.255.254/16
#     inside 10.128.0.1 and up
. "$(dirname "$0")/lib_sites.sh"

peers=${PEERS:-1000} senders=1000
[ -z "${LONG:-}" ] || peers=10000 senders=3000
netns_new GW gw
netns_new NS_CROWD crowd
in_ns "$NS_CROWD" ip link add wan0 type veth peer name wan0 netns "$GW" || die "no veth pair"
in_ns "$GW" ip addr add 192.0.2.1/24 dev wan0
in_ns "$GW" ip link set wan0 up
in_ns "$NS_CROWD" ip addr add 192.0.2.2/24 dev wan0
in_ns "$NS_CROWD" ip link set wan0 up
in_ns "$NS_CROWD" ip route add local 10.64.0.0/16 dev lo
in_ns "$GW" ip route add 10.64.0.0/16 via 192.0.2.2
in_ns "$GW" sysctl -q net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_ratelimit=0 2>/dev/null

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


gateway_for $peers
vpnd_start "$GW" "$RUN_DIR/gw.yaml" || exit 1
echo "rss after start $(rss_kb gw)"
crowd_start $peers ${GAP:-1000}
wait_for "all are up" 60 seen_is up $peers || exit 1
seconds_until 10 true
. ${STEPS:-/dev/null}
