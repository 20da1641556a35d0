# shellcheck shell=bash
# Rows of the matrix of lossy links that are held at every run of the tests. Sources tests/bench/lossy/lib_lossy.sh,
# which makes the link and the load.
#
#   row TEXT FUNCTION [ARG...]   measures by FUNCTION, which judges its figures by `least` and `most`. A figure of a busy
#                                machine may fall short by chance: then the whole row is measured once more, twice at
#                                most, which is said, and what falls short in the last measurement fails. What is right
#                                or wrong, and not more or less, FUNCTION asks by check and expect: those fail at once
#   least TEXT FIGURE FLOOR [REACHED]
#   most TEXT FIGURE FLOOR [REACHED]
#                                FIGURE against FLOOR, what the native wire promises, with a margin of 15 %. With
#                                REACHED the daemon is known to fall short: then that is held, with the same margin.
#                                The line ends with `*` and the floor if the figure is beyond the floor itself
#   watch_start NAME NS ADDRESS INTERVAL
#                                pings until watch_stop NAME
#   watch_figures NAME FROM TO   of answers that came from FROM to TO (EPOCHREALTIME): sets PING_MEDIAN, PING_P99 in
#                                milliseconds and PING_RECEIVED
#   received NS PORT             bytes that came over the TCP connections to PORT so far
#   load_serve NAME NS PORT, load_start NAME NS ADDRESS PORT FLOWS SECONDS, load_stop NAME
#                                TCP flows with CUBIC, in the background; load_connected NS PORT FLOWS waits for them
. "$(dirname "${BASH_SOURCE[0]}")/../bench/lossy/lib_lossy.sh"

# Whatever else the machine does now is not what is measured: of two cores that ten processes want, a daemon gets one when
# its packet is late. Before all others, or where that is refused nicer than them, or as it is.
chrt -r -p 1 $$ >/dev/null 2>&1 || renice -n -10 -p $$ >/dev/null 2>&1

MARGIN=0.15
ROW_TRIES=3
ROW_SHORT=0 ROW_LAST=1 # figures that fell short in this measurement; whether another follows

row() {
	local text=$1 try
	shift
	for ((try = 1; ; try++)); do
		ROW_SHORT=0 ROW_LAST=''
		[ $try -lt $ROW_TRIES ] || ROW_LAST=1
		"$@"
		[ "$ROW_SHORT" -gt 0 ] || break
		printf '      %s: %d figures fell short; measured once more\n' "$text" "$ROW_SHORT"
	done
	ROW_LAST=1
}

judge() { # TEXT FIGURE OP FLOOR LIMIT
	local mark=''
	[ -n "$2" ] && [ "$2" != - ] || {
		fail "$1: there is no figure"
		return
	}
	awk "BEGIN { exit !(($2) $3 ($4)) }" || mark=" * floor $4"
	if awk "BEGIN { exit !(($2) $3 ($5)) }"; then
		pass "$1 ($2 $3 $5)$mark"
	elif [ -n "$ROW_LAST" ]; then
		fail "$1: $2 is not $3 $5$mark"
	else
		ROW_SHORT=$((ROW_SHORT + 1))
		printf '      %s: %s is not %s %s%s\n' "$1" "$2" "$3" "$5" "$mark"
	fi
}
least() { judge "$1" "$2" '>=' "$3" "$(awk "BEGIN { printf \"%.3g\", (${4:-$3}) * (1 - $MARGIN) }")"; }
most() { judge "$1" "$2" '<=' "$3" "$(awk "BEGIN { printf \"%.3g\", (${4:-$3}) * (1 + $MARGIN) }")"; }
plus() { awk "BEGIN { printf \"%.6f\", $1 + $2 }"; }
minus() { awk "BEGIN { printf \"%.1f\", (${1:-0}) - (${2:-0}) }"; }

declare -A WATCH_PID=() LOAD_PID=() LOAD_SERVER=()
watch_start() {
	rm -f "$RUN_DIR/log/watch-$1.log"
	spawn "WATCH_PID[$1]" "$2" "watch-$1" ping -n -D -i "$4" "$3"
}
watch_stop() { end_pid "${WATCH_PID[$1]}" INT 3; }
watch_figures() {
	local times
	PING_MEDIAN='' PING_P99=''
	times=$(awk -F '[][ =]' -v from="$2" -v to="$3" '/ time=/ && !/DUP!/ && $2 >= from && $2 <= to { print $(NF - 1) }' \
		"$RUN_DIR/log/watch-$1.log" | sort -n)
	PING_RECEIVED=$(grep -c . <<<"$times")
	[ "$PING_RECEIVED" -gt 0 ] || return 1
	# shellcheck disable=SC2034
	read -r PING_MEDIAN PING_P99 < <(awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)], t[int(NR * 0.99 + 0.999999)] }' <<<"$times")
}

received() { in_ns "$1" ss -Htin state established "sport = :$2" | grep -oE 'bytes_received:[0-9]+' | awk -F : '{ n += $2 } END { print n + 0 }'; }

sockets() { # NS PORT COUNT
	[ "$(in_ns "$1" ss -Htn state established "sport = :$2" | wc -l)" -ge "$3" ]
}
load_connected() { wait_for "the flows are connected" 15 sockets "$1" "$2" $(($3 + 1)); }
load_serve() {
	spawn "LOAD_SERVER[$1]" "$2" "load-$1-server" iperf3 -s -1 -p "$3"
	wait_for "iperf3 listens" 10 listens "$2" "$3"
}
load_start() {
	spawn "LOAD_PID[$1]" "$2" "load-$1" iperf3 -c "$3" -p "$4" -C cubic -P "$5" -t "$6"
}
load_stop() {
	end_pid "${LOAD_PID[$1]}" INT 2
	end_pid "${LOAD_SERVER[$1]}" TERM 2
	return 0
}
