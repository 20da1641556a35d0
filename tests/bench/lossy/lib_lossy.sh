# shellcheck shell=bash
# One cell of the matrix of lossy links: a peer (a tunnel, or none), a link, a load; and the figures of it. Sources
# tests/bench/lib_peers.sh.
#
#     $NS_A  iperf3 -c, light flow --- peer --- wan0 === lab: rate, queue, loss both ways === wan0 --- peer --- $NS_B
#
#   lossy_networks               makes $NS_A and $NS_B; once, before the first cell
#   lossy_cell PEER RATE RTT LOSS CC FLOWS SECONDS SEED
#                                measures one cell into CELL; RATE in Mb/s, RTT in ms, LOSS in percent of packets, each
#                                on its own, or MEAN/LENGTH in bursts (5/10ms, 3/4); 1 if the peer did not come up
#   lossy_head, lossy_row        the TSV head; CELL as a line of it
#   LOSSY_PEERS                  none wireguard-go kcptun native kcp-go
#
# What makes cells comparable: each peer gets a new link with the same seed, new processes and new namespaces' worth of
# TCP state (no metrics saved), and the tunnel is up and has been used before the load starts. TCP's buffers may grow
# to 16 MB, so that the host is not what limits. Goodput is what the receiver reports of its first SECONDS. The light
# flow goes the same way as the bulk and is echoed; it lasts as long as the bulk. kcptun carries connections, not
# packets: there the light flow is a TCP connection, through a kcptun of its own because one kcptun has one target.
. "$(dirname "${BASH_SOURCE[0]}")/../lib_peers.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../lib_bench.sh"

# shellcheck disable=SC2034
LOSSY_PEERS='none wireguard-go kcptun native kcp-go'
LOSSY_COLUMNS=(date commit peer version rate_mbps rtt_ms loss cc flows run seconds
	goodput_mbps retransmits idle_ms delay_p50_ms delay_p99_ms delay_max_ms echo_p50_ms echo_p99_ms
	light_sent light_lost light_late overhead_pct overhead_inner_pct back_pct
	cpu_s cpu_s_per_gb queue_drops note)

LOSSY_BULK_PORT=$BULK_PORT
LOSSY_IDLE_SECONDS=3
# Segments, instead of what kcptun_window() says.
LOSSY_KCPTUN_WINDOW=${LOSSY_KCPTUN_WINDOW:-}

declare -A CELL=()

lossy_networks() {
	local ns
	netns_new NS_A a
	netns_new NS_B b
	for ns in "$NS_A" "$NS_B"; do
		# shellcheck disable=SC2016
		in_ns "$ns" sh -c 'cd /proc/sys/net/ipv4 && echo 1 >tcp_no_metrics_save &&
			echo 4096 131072 16777216 >tcp_rmem && echo 4096 65536 16777216 >tcp_wmem' ||
			die "cannot set TCP up in $ns"
	done
}

# kcptun's window: one and a quarter of what the path holds, in segments. Of 128, 256, 512 and 1024 the nearest to it is
# the best at 20 as well as at 100 Mb/s and 60 ms: half of it halves the goodput, twice of it gives a tenth more at most,
# and sends the wire's bytes twice because the queue overflows.
kcptun_options() {
	local segments=$((CELL[rate_mbps] * CELL[rtt_ms] * 1250 / 8 / 1350))
	segments=${LOSSY_KCPTUN_WINDOW:-$((segments > 128 ? segments : 128))}
	echo "--mode fast2 --sndwnd $segments --rcvwnd $segments"
}

lossy_link() { # RATE RTT LOSS SEED: queue of one RTT, at least 100 ms where the rate is 20 Mb/s or less
	local queue=$2 loss=(--loss "$3%")
	[ "$1" -gt 20 ] || [ "$queue" -ge 100 ] || queue=100
	[[ $3 != */* ]] || loss=(--burst "${3%/*}%/${3#*/}")
	lab_start --rate "${1}M" --delay "$(($2 * 500))us" --queue "${queue}ms" "${loss[@]}" --seed "$4"
}

lossy_load() { # CC FLOWS SECONDS; uses PEER_*
	local cc=$1 flows=$2 seconds=$3 server client light idle cpu inner
	local server_log=$RUN_DIR/log/bulk-server.log client_log=$RUN_DIR/log/bulk-client.log
	rm -f "$server_log" "$client_log" "$RUN_DIR/log/light.log" "$RUN_DIR/log/idle.log"

	spawn idle - idle "$BIN/light_flow" "${PEER_LIGHT[@]}" $LOSSY_IDLE_SECONDS
	reap "$idle" $((LOSSY_IDLE_SECONDS + 30)) || CELL[note]+='no light flow on the idle link; '

	spawn server "$NS_B" bulk-server iperf3 -s -1 -i 1 -f k --forceflush -p $LOSSY_BULK_PORT
	seconds_until 10 listens "$NS_B" $LOSSY_BULK_PORT || return 1
	cpu=$(cpu_seconds "${PEER_PIDS[@]}") inner=$(inner_bytes)
	lab_ctl reset >/dev/null
	spawn client "$NS_A" bulk-client iperf3 -c "$PEER_TO" -p "$PEER_PORT" -C "$cc" -P "$flows" -t "$seconds" -i 1 -f k \
		--forceflush
	seconds_until 30 iperf_connected "$flows" || CELL[note]+='bulk flows not connected within 30 s; '
	spawn light - light "$BIN/light_flow" "${PEER_LIGHT[@]}" "$seconds"
	reap "$light" $((seconds + 30)) || CELL[note]+='no light flow; '
	# What is over by then has counted; how long a bad link takes to say good-bye is not asked.
	reap "$client" 5
	end_pid "$server" TERM 5

	cpu=$(awk "BEGIN { print $(cpu_seconds "${PEER_PIDS[@]}") - $cpu }")
	[ -z "$inner" ] || inner=$(($(inner_bytes) - inner))
	lossy_figures "$flows" "$seconds" "$cpu" "$inner"
}

# One figure of the light flow; nothing if it has none.
light_figure() { jq -r ".$1 // empty" "$2" 2>/dev/null; }

lossy_figures() { # FLOWS SECONDS CPU INNER
	local received arrived wire back stats idle=$RUN_DIR/log/idle.log light=$RUN_DIR/log/light.log
	read -r "CELL[goodput_mbps]" received < <(iperf_intervals "$RUN_DIR/log/bulk-server.log" "$1" | awk -v seconds="$2" '
		{ bits = $6 * ($2 - $1) * 1e3; all += bits }
		$1 < seconds - 0.01 { counted += bits }
		END { printf "%.3f %.0f\n", counted / seconds / 1e6, all / 8 }')
	[ -s "$RUN_DIR/log/bulk-server.log" ] || CELL[note]+='iperf3 said nothing; '
	CELL[retransmits]=$(iperf_intervals "$RUN_DIR/log/bulk-client.log" "$1" | awk '{ n += $8 } END { print n + 0 }')
	CELL[idle_ms]=$(light_figure delay_p50_ms "$idle")
	local key
	for key in delay_p50_ms delay_p99_ms delay_max_ms echo_p50_ms echo_p99_ms; do
		CELL[$key]=$(light_figure "$key" "$light")
	done
	for key in sent lost late; do
		CELL[light_$key]=$(light_figure "$key" "$light")
	done
	arrived=$(jq -r '(.sent - .lost) * .bytes' "$light" 2>/dev/null)
	stats=$(lab_ctl stats)
	read -r wire back "CELL[queue_drops]" < <(jq -r '[.ab.in_bytes, .ba.in_bytes, .ab.dropped_queue] | @tsv' <<<"$stats")
	# shellcheck disable=SC2034
	read -r "CELL[overhead_pct]" "CELL[overhead_inner_pct]" "CELL[back_pct]" "CELL[cpu_s]" "CELL[cpu_s_per_gb]" < <(
		awk -v payload=$((received + ${arrived:-0})) -v wire="$wire" -v back="$back" -v inner="${4:-0}" -v cpu="$3" '
			function share(x, of) { return of > 0 ? sprintf("%.1f", x) : "-" }
			BEGIN {
				print share(payload ? (wire / payload - 1) * 100 : 0, payload),
					share(inner ? (wire / inner - 1) * 100 : 0, inner),
					share(payload ? back / payload * 100 : 0, payload), cpu,
					share(payload ? cpu / payload * 1e9 : 0, payload)
			}')
}

lossy_cell() {
	local peer=$1 up=1
	CELL=([date]=$(date -u +%Y-%m-%dT%H:%M:%SZ) [commit]=$(git -C "$ROOT" describe --always --dirty 2>/dev/null)
		[peer]=$1 [version]=$(peer_version "$1") [rate_mbps]=$2 [rtt_ms]=$3
		[loss]=$4 [cc]=$5 [flows]=$6 [seconds]=$7 [note]='')
	lossy_link "$2" "$3" "$4" "$8"
	if ! "${peer}_start"; then
		CELL[note]+='the peer did not come up; '
		up=''
	else
		lossy_load "$5" "$6" "$7" || up=''
	fi
	"${peer}_stop"
	lab_stop
	CELL[note]=${CELL[note]%; }
	[ -n "$up" ]
}

lossy_head() {
	local IFS=$'\t'
	printf '%s\n' "${LOSSY_COLUMNS[*]}"
}
lossy_row() {
	local -a COLUMNS=("${LOSSY_COLUMNS[@]}")
	tsv_line CELL
}
