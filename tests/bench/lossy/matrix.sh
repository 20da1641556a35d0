#!/bin/bash
# The matrix of lossy links: called by scripts/bench-lossy, which has the options.
#
# In the environment: PEERS RATES RTTS LOSSES CCS LOADS (flows, or flows@rate for that rate alone), SECONDS_A_CELL, RUNS,
# ONLY (a pattern of cell names), OUT (the file that gets a line for each cell as it comes), RESUME, LIST.
# A line for each cell: RATE RTT FLOWS CC LOSS RUN PEER. Peers take turns, so that what else the machine does meets all.
cells() {
	local rate rtt load flows cc loss run peer
	for rate in $RATES; do
		for rtt in $RTTS; do
			for load in $LOADS; do
				flows=${load%@*}
				[[ $load != *@* || ${load#*@} == "$rate" ]] || continue
				for cc in $CCS; do
					for loss in $LOSSES; do
						for ((run = 1; run <= RUNS; run++)); do
							for peer in $PEERS; do
								printf '%s ' "$rate" "$rtt" "$flows" "$cc" "$loss" "$run"
								printf '%s\n' "$peer"
							done
						done
					done
				done
			done
		done
	done
}
cell_name() {
	local loss=$5
	[[ $loss == */* ]] || loss+=%
	printf '%s %sMb/s %sms %s %sx%s\n' "$7" "$1" "$2" "$loss" "$3" "$4"
}
selected_cells() {
	local line
	while read -r line; do
		# shellcheck disable=SC2086
		[[ $(cell_name $line) =~ $ONLY ]] && printf '%s\n' "$line"
	done < <(cells)
}

mapfile -t todo < <(selected_cells)
[ ${#todo[@]} -gt 0 ] || {
	echo "bench-lossy: no cell matches" >&2
	exit 2
}
if [ -n "$LIST" ]; then
	for cell in "${todo[@]}"; do
		# shellcheck disable=SC2086
		cell_name $cell
	done | awk '!seen[$0]++'
	exit 0
fi

. "$(dirname "$0")/lib_lossy.sh"

# True if OUT holds the cell of this very version.
measured() { # RATE RTT FLOWS CC LOSS RUN PEER
	tsv_has "$OUT" "$7 $(peer_version "$7") $1 $2 $5 $4 $3 $6 $SECONDS_A_CELL" 3 4 5 6 7 8 9 10 11
}

for peer in $PEERS; do
	[[ " $LOSSY_PEERS " == *" $peer "* ]] || die "no such peer: $peer (there are: $LOSSY_PEERS)"
done
for cc in $CCS; do
	[[ " $(cat /proc/sys/net/ipv4/tcp_available_congestion_control) " == *" $cc "* ]] ||
		die "the kernel has no congestion control $cc (modprobe tcp_$cc)"
done

tsv_begin "$OUT" "$(lossy_head)"

lossy_networks
done_cells=0 began=$EPOCHSECONDS
for cell in "${todo[@]}"; do
	done_cells=$((done_cells + 1))
	read -r rate rtt flows cc loss run peer <<<"$cell"
	# shellcheck disable=SC2086
	name=$(cell_name $cell)
	# shellcheck disable=SC2086
	if [ -n "$RESUME" ] && measured $cell; then
		continue
	fi
	lossy_cell "$peer" "$rate" "$rtt" "$loss" "$cc" "$flows" "$SECONDS_A_CELL" "$run" ||
		printf 'no figures: %s: %s\n' "$name" "${CELL[note]}"
	CELL[run]=$run
	lossy_row >>"$OUT"
	rm -f "$RUN_DIR"/log/*
	printf '%4d/%d %4d s  %-45s %8s Mb/s  light flow %s / %s ms, %s+%s of %s lost+late\n' $done_cells ${#todo[@]} \
		$((EPOCHSECONDS - began)) "$name" "${CELL[goodput_mbps]:--}" "${CELL[delay_p50_ms]:--}" \
		"${CELL[delay_p99_ms]:--}" "${CELL[light_lost]:--}" "${CELL[light_late]:--}" "${CELL[light_sent]:--}"
done
