# shellcheck shell=bash
# One cell of the bench of speed: a peer (a tunnel, or none) that is up, a load, and the figures of it. Sources
# tests/bench/lib_peers.sh.
#
#     $NS_A  load --- peer --- wan0 === pair of devices, nothing in between === wan0 --- peer --- load  $NS_B
#
#   speed_networks               makes $NS_A and $NS_B and joins them; once, before the first peer
#   speed_cell PEER LOAD SECONDS measures one cell of a peer that was started into CELL; 1 if there are no figures
#   speed_try_cell PEER LOAD SECONDS TRIES
#                                the same, as long as others take more than SPEED_OTHERS_PERCENT of the machine; of all
#                                tries the one with the fewest others
#   speed_no_cell PEER LOAD SECONDS TEXT
#                                CELL of a peer that did not come up
#   speed_head, speed_row        the TSV head; CELL as a line of it
#   speed_stages PEER SECONDS FILE RUN
#                                brings vpnd up, which must not be, measures what its stages take with one flow, appends
#                                that to FILE, and ends it; CELL is the flow's
#   SPEED_PEERS, SPEED_PEERS_FULL, SPEED_LOADS
#
# The loads:
#   idle            pings, 100 a second, through a tunnel that does nothing else
#   tcp1, tcp4      TCP flows with reno, that is whoever the machine's default is, for one second that is not counted
#                   in the throughput, while queues and windows open, and then for SECONDS
#   beside          tcp1, and 200 pings a second beside it
#   udp64, udp1200  UDP packets of so many bytes of payload, as many as arrive without loss of more than 1 %, one by one;
#   udp64-bunches, udp1200-bunches
#                   the same in bunches by UDP_SEGMENT, received with UDP_GRO; what is delivered counts
#   stages          tcp1 through a vpnd that counts what the stages of its data path take
# Pings alone and UDP last two thirds of SECONDS: they need no more.
# Client, both daemons and server share all the cores there are, so a tunnel that needs less leaves more to the load.
# CPU is what /proc says of the daemons' processes; what the kernel does for a packet in the same turn counts for whom it
# interrupts, thus mostly for the daemon that sent it. kcptun carries connections, not packets: in place of pings it
# has the light flow of the bench of lossy links, through a kcptun of its own, and it has no UDP.
. "$(dirname "${BASH_SOURCE[0]}")/../lib_peers.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../lib_bench.sh"

# shellcheck disable=SC2034
SPEED_PEERS='none wireguard-go fastd fastd-umac kcptun native native-fec native-sodium kcp-go'
# shellcheck disable=SC2034
SPEED_PEERS_FULL="$SPEED_PEERS openvpn nebula"
# shellcheck disable=SC2034
SPEED_LOADS='idle tcp1 tcp4 beside udp64 udp64-bunches udp1200 udp1200-bunches stages'
COLUMNS=(date commit peer version load run seconds
	mbps retransmits bytes pps packets lost_pct rtt_p50_ms rtt_p99_ms rtt_max_ms pings pings_lost
	cpu_a_s cpu_b_s rss_a_kb rss_b_kb busy_pct others_pct note)

UDP_PORT=5298
SPEED_WARM_SECONDS=1
SPEED_OTHERS_PERCENT=5

declare -A CELL=()

speed_networks() {
	local ns
	netns_new NS_A a
	netns_new NS_B b
	ip link add wan0 netns "$NS_A" type veth peer name wan0 netns "$NS_B" || die "no pair of devices"
	in_ns "$NS_A" ip address add "$OUTER_A4/24" dev wan0
	in_ns "$NS_B" ip address add "$OUTER_B4/24" dev wan0
	for ns in "$NS_A" "$NS_B"; do
		in_ns "$ns" ip link set wan0 up
		# shellcheck disable=SC2016
		in_ns "$ns" sh -c 'cd /proc/sys/net/ipv4 && echo 1 >tcp_no_metrics_save &&
			echo 4096 131072 16777216 >tcp_rmem && echo 4096 65536 16777216 >tcp_wmem' ||
			die "cannot set TCP up in $ns"
	done
}

# On this link the processor limits it, not its window: with 1024 to 4096 segments, in any mode, it carried 270 to 330 Mb/s;
# with 512 or 8192 a fifth less. The mode is the one that vpnd has on the same wire.
kcptun_options() { echo "${SPEED_KCPTUN:---mode fast2 --sndwnd 2048 --rcvwnd 2048}"; }

# ---- what a load costs -------------------------------------------------------------------------------------------
# Of the time since `cost_begin`: the daemons' CPU, how busy the machine was, and what took of it besides the bench.
machine_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8, $9, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; exit }' /proc/stat; }
cost_begin() {
	COST_A=$(cpu_seconds "${PEER_PIDS_A[@]}") COST_B=$(cpu_seconds "${PEER_PIDS_B[@]}")
	COST_OURS=$(cpu_seconds $$ 2) # with the kernel's threads: they work for the bench, too
	COST_MACHINE=$(machine_ticks)
}
cost_end() {
	local machine ours
	machine=$(machine_ticks) ours=$(cpu_seconds $$ 2)
	if [ ${#PEER_PIDS[@]} -gt 0 ]; then
		CELL[cpu_a_s]=$(awk "BEGIN { print $(cpu_seconds "${PEER_PIDS_A[@]}") - $COST_A }")
		CELL[cpu_b_s]=$(awk "BEGIN { print $(cpu_seconds "${PEER_PIDS_B[@]}") - $COST_B }")
		CELL[rss_a_kb]=$(resident_kb "${PEER_PIDS_A[@]}")
		CELL[rss_b_kb]=$(resident_kb "${PEER_PIDS_B[@]}")
	fi
	read -r "CELL[busy_pct]" "CELL[others_pct]" < <(awk -v now="$machine" -v then="$COST_MACHINE" \
		-v ours="$(awk "BEGIN { print $ours - $COST_OURS }")" -v hz="$(getconf CLK_TCK)" 'BEGIN {
			split(now, n); split(then, t)
			all = n[3] - t[3]; busy = n[1] - t[1]; stolen = n[2] - t[2]
			if (all < 1) all = 1
			others = (busy + stolen - ours * hz) / all * 100
			printf "%.0f %.0f\n", busy / all * 100, (others > 0 ? others : 0)
		}')
}

# ---- the loads ---------------------------------------------------------------------------------------------------
speed_pings() { # COUNT INTERVAL
	CELL[pings]=$1
	ping_stats "$NS_A" "$PEER_TO" "$1" -i "$2" -W 2 || return 1
	CELL[pings_lost]=$PING_LOST CELL[rtt_p50_ms]=$PING_MEDIAN CELL[rtt_p99_ms]=$PING_P99 CELL[rtt_max_ms]=$PING_MAX
}
speed_echoes() { # SECONDS: in place of pings
	local echo log=$RUN_DIR/log/echo.log
	rm -f "$log"
	spawn echo - echo "$BIN/light_flow" "${PEER_LIGHT[@]}" "$1"
	reap "$echo" $(($1 + 30)) || return 1
	read -r "CELL[pings]" "CELL[pings_lost]" "CELL[rtt_p50_ms]" "CELL[rtt_p99_ms]" < <(
		jq -r '[.sent, .lost, .echo_p50_ms // "-", .echo_p99_ms // "-"] | @tsv' "$log")
	CELL[note]+='echoes over TCP instead of pings; '
}
speed_latency() { # SECONDS PINGS_A_SECOND
	if [ -n "$PEER_DEVICE" ]; then
		speed_pings $(($1 * $2)) "$(awk "BEGIN { print 1 / $2 }")"
	else
		speed_echoes "$1"
	fi
}

speed_tcp() { # FLOWS SECONDS [PINGS_A_SECOND]
	local server client latency=0 status all=$(($2 + SPEED_WARM_SECONDS))
	local server_log=$RUN_DIR/log/bulk-server.log client_log=$RUN_DIR/log/bulk-client.log
	rm -f "$server_log" "$client_log"
	spawn server "$NS_B" bulk-server iperf3 -s -1 -i 1 -f k --forceflush -p $BULK_PORT
	seconds_until 10 listens "$NS_B" $BULK_PORT || return 1
	spawn client "$NS_A" bulk-client iperf3 -c "$PEER_TO" -p "$PEER_PORT" -C reno -P "$1" -t $all -i 1 -f k --forceflush
	if [ -n "${3:-}" ]; then
		sleep $SPEED_WARM_SECONDS
		speed_latency "$2" "$3" || latency=1
	fi
	reap "$client" $((all + 20))
	status=$?
	[ $status -eq 0 ] || CELL[note]+="iperf3 ended with $status; "
	reap "$server" 3
	read -r "CELL[mbps]" "CELL[bytes]" < <(iperf_intervals "$server_log" "$1" | awk -v warm=$SPEED_WARM_SECONDS -v all=$all '
		{ bits = $6 * ($2 - $1) * 1e3; sum += bits }
		$1 > warm - 0.01 && $1 < all - 0.5 { counted += bits; seconds += $2 - $1 }
		END { if (seconds > 0) printf "%.1f %.0f\n", counted / seconds / 1e6, sum / 8; else print "- -" }')
	CELL[retransmits]=$(iperf_intervals "$client_log" "$1" | awk '{ n += $8 } END { print n + 0 }')
	[ $latency -eq 0 ] && [ "${CELL[mbps]}" != - ]
}
speed_udp() { # single|bunches BYTES SECONDS
	local log=$RUN_DIR/log/udp.log load
	rm -f "$log"
	spawn load - udp "$BIN/udp_rate" "$1" "$NS_A" "$NS_B" "$PEER_TO" $UDP_PORT "$2" "$3"
	reap "$load" $(($3 + 10)) || return 1
	read -r "CELL[pps]" "CELL[packets]" "CELL[lost_pct]" < <(jq -r '[.pps, .delivered, .lost_pct] | @tsv' "$log")
	CELL[bytes]=$((CELL[packets] * $2))
}

speed_new_cell() { # PEER LOAD SECONDS
	CELL=([date]=$(date -u +%Y-%m-%dT%H:%M:%SZ) [commit]=$(git -C "$ROOT" describe --always --dirty 2>/dev/null)
		[peer]=$1 [version]=$(peer_version "$1") [load]=$2 [seconds]=$3 [note]='')
}
speed_no_cell() {
	speed_new_cell "$1" "$2" "$3"
	CELL[note]=$4
}
speed_cell() {
	local measured=0 short=$((($3 * 2 + 2) / 3))
	speed_new_cell "$1" "$2" "$3"
	# What the last load left in queues is gone when a ping comes back as fast as ever.
	sleep 0.3
	[ -z "$PEER_DEVICE" ] || seconds_until 10 answers "$NS_A" "$PEER_TO" || CELL[note]+='no ping comes back; '
	cost_begin
	case $2 in
	idle) speed_latency $short 100 || measured=1 ;;
	tcp[1-9]) speed_tcp "${2#tcp}" "$3" || measured=1 ;;
	beside) speed_tcp 1 "$3" 200 || measured=1 ;;
	udp*-bunches)
		local bytes=${2#udp}
		speed_udp bunches "${bytes%-bunches}" $short || measured=1
		;;
	udp*) speed_udp single "${2#udp}" $short || measured=1 ;;
	*) die "no such load: $2 (there are: $SPEED_LOADS)" ;;
	esac
	cost_end
	[ $measured -eq 0 ] || CELL[note]+='not all figures; '
	CELL[note]=${CELL[note]%; }
	return $measured
}

speed_try_cell() {
	local try key best=1
	local -A kept=()
	for ((try = 1; try <= $4; try++)); do
		speed_cell "$1" "$2" "$3"
		local measured=$?
		if [ ${#kept[@]} -eq 0 ] || { [ $measured -le $best ] && [ "${CELL[others_pct]}" -lt "${kept[others_pct]}" ]; }; then
			best=$measured kept=()
			for key in "${!CELL[@]}"; do kept[$key]=${CELL[$key]}; done
		fi
		[ $best -ne 0 ] || [ "${kept[others_pct]}" -gt $SPEED_OTHERS_PERCENT ] || break
	done
	CELL=()
	for key in "${!kept[@]}"; do CELL[$key]=${kept[$key]}; done
	return $best
}

speed_head() {
	local IFS=$'\t'
	printf '%s\n' "${COLUMNS[*]}"
}
speed_row() { tsv_line CELL; }

# Where the time goes in vpnd, by its own counters, which it writes to its log when it stops, if it was asked to: one line
# a stage, "profile: stage=NAME cpu_ns=N entered=N items=N". Looking at the clock takes time, so this is a tunnel and a
# load of its own, whose throughput is not the other's. FILE gets a line for each stage of each end.
speed_stages() { # PEER SECONDS FILE RUN
	local end lines=0 measured=0 stage ns items
	export VPND_PROFILE=1
	"${1}_start" || measured=1
	unset VPND_PROFILE
	[ $measured -ne 0 ] || speed_cell "$1" tcp1 "$2" || measured=1
	"${1}_stop"
	if [ $measured -ne 0 ]; then
		speed_no_cell "$1" stages "$2" 'no stages were measured'
		return 1
	fi
	CELL[load]=stages
	[ -s "$3" ] || printf 'date\tpeer\tversion\trun\tend\tstage\tcpu_ns\titems\tbytes\n' >"$3"
	for end in a b; do
		while read -r stage ns items; do
			lines=$((lines + 1))
			printf '%s\t' "${CELL[date]}" "$1" "${CELL[version]}" "$4" "$end" "$stage" "$ns" "$items" >>"$3"
			printf '%s\n' "${CELL[bytes]}" >>"$3"
		done < <(sed -nE 's/.* profile: stage=(\S+) cpu_ns=([0-9]+) .*items=([0-9]+).*/\1 \2 \3/p' "$(vpnd_log $end)")
	done
	[ $lines -gt 0 ] || CELL[note]='this vpnd counts no stages'
}
