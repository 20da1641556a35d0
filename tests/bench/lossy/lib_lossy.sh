# shellcheck shell=bash
# One cell of the matrix of lossy links: a peer (a tunnel, or none), a link, a load; and the figures of it. Sources
# tests/netns/lib_sites.sh.
#
#     $NS_A  iperf3 -c, light flow --- peer --- wan0 === lab: rate, queue, loss both ways === wan0 --- peer --- $NS_B
#
#   lossy_networks               makes $NS_A and $NS_B; once, before the first cell
#   lossy_cell PEER RATE RTT LOSS CC FLOWS SECONDS SEED
#                                measures one cell into CELL; RATE in Mb/s, RTT in ms, LOSS in percent of packets, each
#                                on its own, or MEAN/LENGTH in bursts (5/10ms, 3/4); 1 if the peer did not come up
#   lossy_head, lossy_row        the TSV head; CELL as a line of it
#   peer_version PEER            what is measured: package version, kernel, or checksum of vpnd
#   LOSSY_PEERS                  none wireguard-go kcptun native kcp-go
#
# What makes cells comparable: each peer gets a new link with the same seed, new processes and new namespaces' worth of
# TCP state (no metrics saved), and the tunnel is up and has been used before the load starts. TCP's buffers may grow
# to 16 MB, so that the host is not what limits. Goodput is what the receiver reports of its first SECONDS. The light
# flow goes the same way as the bulk and is echoed; it lasts as long as the bulk. kcptun carries connections, not
# packets: there the light flow is a TCP connection, through a kcptun of its own because one kcptun has one target.
. "$(dirname "${BASH_SOURCE[0]}")/../../netns/lib_sites.sh"

# shellcheck disable=SC2034
LOSSY_PEERS='none wireguard-go kcptun native kcp-go'
LOSSY_COLUMNS=(date commit peer version rate_mbps rtt_ms loss cc flows run seconds
	goodput_mbps retransmits idle_ms delay_p50_ms delay_p99_ms delay_max_ms echo_p50_ms echo_p99_ms
	light_sent light_lost light_late overhead_pct overhead_inner_pct back_pct
	cpu_s cpu_s_per_gb queue_drops note)

LOSSY_BULK_PORT=5201 LOSSY_LIGHT_PORT=5299
LOSSY_IDLE_SECONDS=3
# Segments, instead of what kcptun_window() says.
LOSSY_KCPTUN_WINDOW=${LOSSY_KCPTUN_WINDOW:-}

declare -A CELL=()
PEER_TO='' PEER_PORT='' PEER_LIGHT=() PEER_PIDS=() PEER_DEVICE=''

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

# ---- the peers ---------------------------------------------------------------------------------------------------
# PEER_start brings the peer up and says where its load goes; PEER_stop ends it.

peer_version() {
	case $1 in
	none) uname -r ;;
	native | kcp-go)
		printf '%.12s\n' "$(sha256sum "$BIN/vpnd" | cut -d ' ' -f 1)"
		;;
	*) dpkg-query -W -f '${Version}\n' "$1" 2>/dev/null || echo '?' ;;
	esac
}

inner_device() { in_ns "$NS_A" ip link show dev "$1"; }
peer_packets() { # ADDRESS DEVICE PID...: what carries packets
	PEER_TO=$1 PEER_PORT=$LOSSY_BULK_PORT PEER_DEVICE=$2
	shift 2
	PEER_PIDS=("$@")
	PEER_LIGHT=(udp "$NS_A" "$PEER_TO" "$LOSSY_LIGHT_PORT" "$NS_B" "$PEER_TO" "$LOSSY_LIGHT_PORT")
	seconds_until 20 answers "$NS_A" "$PEER_TO"
}

none_start() { peer_packets "$OUTER_B4" wan0; }
none_stop() { :; }

wireguard_end() { # NS DEVICE N PORT: one end without its peer
	local pid
	spawn pid "$1" "wireguard-$3" env LOG_LEVEL=error wireguard-go -f "$2"
	WIREGUARD_PIDS+=("$pid")
	seconds_until 10 test -S "/var/run/wireguard/$2.sock" || return 1
	wg genkey >"$RUN_DIR/$2.key"
	in_ns "$1" wg set "$2" private-key "$RUN_DIR/$2.key" listen-port "$4" &&
		in_ns "$1" ip address add "10.98.0.$3/24" dev "$2" && in_ns "$1" ip link set "$2" up
}
wireguard-go_start() {
	local a=wgl$$a b=wgl$$b
	WIREGUARD_PIDS=()
	(umask 077 && : >"$RUN_DIR/$a.key" && : >"$RUN_DIR/$b.key")
	wireguard_end "$NS_A" "$a" 1 51820 && wireguard_end "$NS_B" "$b" 2 51820 || return 1
	in_ns "$NS_A" wg set "$a" peer "$(wg pubkey <"$RUN_DIR/$b.key")" allowed-ips 10.98.0.2/32 \
		endpoint "$OUTER_B4:51820"
	in_ns "$NS_B" wg set "$b" peer "$(wg pubkey <"$RUN_DIR/$a.key")" allowed-ips 10.98.0.1/32
	peer_packets 10.98.0.2 "$b" "${WIREGUARD_PIDS[@]}"
}
wireguard-go_stop() {
	local pid
	for pid in "${WIREGUARD_PIDS[@]}"; do end_pid "$pid" TERM 5; done
	rm -f "/var/run/wireguard/wgl$$a.sock" "/var/run/wireguard/wgl$$b.sock"
}

# One and a quarter of what the path holds, in segments. Of 128, 256, 512 and 1024 the nearest to it is the best at 20 as
# well as at 100 Mb/s and 60 ms: half of it halves the goodput, twice of it gives a tenth more at most, and sends the
# wire's bytes twice because the queue overflows.
kcptun_window() { # RATE RTT
	local segments=$(($1 * $2 * 1250 / 8 / 1350))
	echo "${LOSSY_KCPTUN_WINDOW:-$((segments > 128 ? segments : 128))}"
}
# kcptun_pair PORT TARGET: from 127.0.0.1 port 1TARGET in A to 127.0.0.1 port TARGET in B, over UDP port PORT
kcptun_pair() {
	local pid window options
	window=$(kcptun_window "${CELL[rate_mbps]}" "${CELL[rtt_ms]}")
	options=(--key 'a bench' --crypt salsa20 --mode fast2 --datashard 10 --parityshard 3 --nocomp --quiet
		--sndwnd "$window" --rcvwnd "$window")
	spawn pid "$NS_B" "kcptun-server-$1" kcptun-server -l ":$1" -t "127.0.0.1:$2" "${options[@]}"
	PEER_PIDS+=("$pid")
	spawn pid "$NS_A" "kcptun-client-$1" kcptun-client -l "127.0.0.1:1$2" -r "$OUTER_B4:$1" "${options[@]}"
	PEER_PIDS+=("$pid")
	seconds_until 10 listens "$NS_A" "1$2"
}
kcptun_start() {
	PEER_PIDS=() PEER_DEVICE='' PEER_TO=127.0.0.1 PEER_PORT=1$LOSSY_BULK_PORT
	PEER_LIGHT=(tcp "$NS_A" 127.0.0.1 "1$LOSSY_LIGHT_PORT" "$NS_B" 127.0.0.1 "$LOSSY_LIGHT_PORT")
	kcptun_pair 29900 $LOSSY_BULK_PORT && kcptun_pair 29901 $LOSSY_LIGHT_PORT
}
kcptun_stop() {
	local pid
	for pid in "${PEER_PIDS[@]}"; do end_pid "$pid" TERM 5; done
}

vpnd_pair() {
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" && vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || return 1
	peer_packets 10.99.0.2 kcp0 "$(vpnd_pid a)" "$(vpnd_pid b)"
}
native_mtu_found() { [ "$(status a .interface.mtu)" -ge 1400 ]; }
native_start() {
	native a 1 "peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
	native b 2 "listen: [\"0.0.0.0:29900\"]" \
		"peers: {a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1]}}"
	vpnd_pair || return 1
	seconds_until 15 native_mtu_found # as after the first seconds of a tunnel that stays up for days
	return 0
}
vpnd_end_pair() {
	local name
	for name in a b; do
		[ -z "$(vpnd_pid $name)" ] || vpnd_stop $name || fail "vpnd $name ended with $?"
	done
}
native_stop() { vpnd_end_pair; }
kcp-go_start() {
	NETWORK_KCP_GO='mode: fast2, datashard: 10, parityshard: 3'
	network a 1 "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
	network b 2 "listen: [\"0.0.0.0:29900\"]" "peers: {a: {allowed_ips: [10.99.0.1]}}"
	vpnd_pair
}
kcp-go_stop() { vpnd_end_pair; }

# ---- the figures -------------------------------------------------------------------------------------------------

# cpu_seconds PID...: of these processes and all below them, which may have parted with privileges
cpu_seconds() {
	[ $# -gt 0 ] || {
		echo 0
		return
	}
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ (.*) / /' | awk -v roots="$*" -v hz="$(getconf CLK_TCK)" '
		{ parent[$1] = $3; ticks[$1] = $13 + $14 + $15 + $16 }
		END {
			n = split(roots, root, " ")
			for (i = 1; i <= n; i++) ours[root[i]] = 1
			do {
				more = 0
				for (pid in parent)
					if (!(pid in ours) && (parent[pid] in ours)) more = ours[pid] = 1
			} while (more)
			for (pid in ours) sum += ticks[pid]
			printf "%.2f\n", sum / hz
		}'
}

# Bytes that came out of the tunnel in B, with their IP headers; nothing for a forwarder.
inner_bytes() { in_ns "$NS_B" ip -s -j link show dev "$PEER_DEVICE" 2>/dev/null | jq -r '.[0].stats64.rx.bytes'; }

# The intervals of an iperf3 log, "from-to sec N UNIT KBITS Kbits/sec ...", without the summary at the end.
iperf_intervals() { # LOG FLOWS
	# A line of dashes stands between the intervals of several flows, and before the heading of the summary.
	awk -v flows="$2" '
		/^- - / { dashes = 1; next }
		/^\[ *ID\]/ && dashes { exit }
		{ dashes = 0 }
		/Kbits\/sec/ && (flows == 1) == !/^\[SUM\]/ { sub(/^\[[^]]*\]/, ""); sub(/-/, " "); print }' "$1"
}

iperf_connected() { # FLOWS and the control connection
	[ "$(in_ns "$NS_B" ss -Htn state established "sport = :$LOSSY_BULK_PORT" | wc -l)" -gt "$1" ]
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
	local column line=''
	for column in "${LOSSY_COLUMNS[@]}"; do
		line+=${line:+$'\t'}${CELL[$column]:--}
	done
	printf '%s\n' "$line"
}
