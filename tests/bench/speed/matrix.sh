#!/bin/bash
# The cells of the bench of speed: called by scripts/bench-speed, which has the options.
#
# In the environment: PEERS LOADS, SECONDS_A_CELL, RUNS, TRIES, ONLY (a pattern of "PEER LOAD"), OUT (the file that gets a line
# for each cell as it comes), RESUME, LIST. Peers take turns, so that what else the machine does meets all of them; a
# peer is started once a turn, and has all its loads then.
selected_loads() { # PEER
	local load
	for load in $LOADS; do
		[[ $1 = kcptun && $load = udp* ]] && continue # it carries connections
		[[ $load = stages && ! $1 =~ ^(native|native-fec|kcp-go)$ ]] && continue
		[[ ! "$1 $load" =~ $ONLY ]] || printf '%s\n' "$load"
	done
}
mapfile -t names < <(for peer in $PEERS; do selected_loads "$peer" | sed "s/^/$peer /"; done)
[ ${#names[@]} -gt 0 ] || {
	echo "bench-speed: no cell matches" >&2
	exit 2
}
if [ -n "$LIST" ]; then
	printf '%s\n' "${names[@]}"
	exit 0
fi

. "$(dirname "$0")/lib_speed.sh"

measured() { # PEER LOAD RUN: true if OUT holds the cell of this very version
	tsv_has "$OUT" "$1 $(peer_version "$1") $2 $3 $SECONDS_A_CELL" 3 4 5 6 7
}

for peer in $PEERS; do
	[[ " $SPEED_PEERS_FULL " == *" $peer "* ]] || die "no such peer: $peer (there are: $SPEED_PEERS_FULL)"
done
for load in $LOADS; do
	[[ " $SPEED_LOADS " == *" $load "* ]] || die "no such load: $load (there are: $SPEED_LOADS)"
done
[[ " $(cat /proc/sys/net/ipv4/tcp_available_congestion_control) " == *" reno "* ]] || die "the kernel has no reno"

tsv_begin "$OUT" "$(speed_head)"
speed_networks
all=$((${#names[@]} * RUNS)) done_cells=0 began=$EPOCHSECONDS

show() { # RUN
	local text=''
	[ -z "${CELL[mbps]:-}" ] || text+=" ${CELL[mbps]} Mb/s"
	[ -z "${CELL[pps]:-}" ] || text+=" ${CELL[pps]} packets/s"
	[ -z "${CELL[rtt_p50_ms]:-}" ] || text+=" ${CELL[rtt_p50_ms]} / ${CELL[rtt_p99_ms]} ms"
	printf '%4d/%d %4d s  %-30s %s%s\n' $done_cells $all $((EPOCHSECONDS - began)) "${CELL[peer]} ${CELL[load]} #$1" \
		"${text:- no figures}" "${CELL[note]:+ (${CELL[note]})}"
}
keep() { # RUN
	done_cells=$((done_cells + 1))
	CELL[run]=$1
	speed_row >>"$OUT"
	show "$1"
}
peer_turn() { # PEER RUN
	local peer=$1 run=$2 load up=1 stages='' todo=()
	for load in $(selected_loads "$peer"); do
		if [ -n "$RESUME" ] && measured "$peer" "$load" "$run"; then
			done_cells=$((done_cells + 1))
		elif [ "$load" = stages ]; then
			stages=1
		else
			todo+=("$load")
		fi
	done
	if [ ${#todo[@]} -gt 0 ]; then
		"${peer}_start" || up=''
		for load in "${todo[@]}"; do
			if [ -n "$up" ]; then
				speed_try_cell "$peer" "$load" "$SECONDS_A_CELL" "$TRIES"
			else
				speed_no_cell "$peer" "$load" "$SECONDS_A_CELL" 'the peer did not come up'
			fi
			keep "$run"
		done
		"${peer}_stop"
		rm -f "$RUN_DIR"/log/*
	fi
	if [ -n "$stages" ]; then
		speed_stages "$peer" "$SECONDS_A_CELL" "${OUT%.tsv}-stages.tsv" "$run"
		keep "$run"
		rm -f "$RUN_DIR"/log/*
	fi
}
for ((run = 1; run <= RUNS; run++)); do
	for peer in $PEERS; do
		peer_turn "$peer" "$run"
	done
done
