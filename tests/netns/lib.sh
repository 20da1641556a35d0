# shellcheck shell=bash
# Library of the tests in network namespaces. A test sources it first:
#
#     #!/bin/bash
#     # profiles: release asan     (tests/run runs the script once for each; default both)
#     # timeout: 120               (seconds; default 120)
#     # long                       (only in the long run)
#     . "$(dirname "$0")/lib.sh"
#
# and then draws its topology and uses what follows. It needs root. PROFILE chooses build/PROFILE/. Names carry the
# process number, so tests may run side by side. Whatever happens, an EXIT trap ends the processes that were started
# here (no others), deletes the namespaces made here and the paths in LEFTOVERS, and turns FAIL lines, dead daemons and
# sanitizer reports into exit status 1. Functions that start something must run in the script's own shell, not in $(...)
# nor behind a `&`: what they start there nobody would end.
#
#   pass TEXT, fail TEXT              one line each; fail makes the script end with 1
#   check TEXT COMMAND...             PASS if COMMAND succeeds
#   expect TEXT A OP B                PASS if the comparison of two decimal numbers holds (OP: == != < <= > >=)
#   die TEXT                          FAIL and leave
#   wait_for TEXT SECONDS COMMAND...  asks COMMAND until it succeeds; FAIL and 1 after SECONDS
#
#   netns_new VAR NAME                makes a namespace with lo up; its full name goes into VAR
#   in_ns NS COMMAND...               runs COMMAND in NS
#   spawn VAR NS LOG COMMAND...       starts COMMAND in NS (- = here) in the background, output to $RUN_DIR/log/LOG.log
#   reap PID SECONDS                  waits for a spawned process; its exit status, 124 if it had to be killed
#
#   lab_start [OPTION...]             emulated link between namespaces $NS_A and $NS_B (made if they are not there):
#                                     device wan0 with $OUTER_A4 $OUTER_A6 and $OUTER_B4 $OUTER_B6. OPTIONs are lab's
#   lab_ctl COMMAND...                as `lab ctl`: set both loss=5%, outage both 3s, stats, show, reset
#   lab_stat DIRECTION KEY            one number of the statistics: lab_stat ab lost_random
#   lab_stop
#
#   vpnd_start NS FILE.yaml [ARG...]  starts vpnd in NS and waits until it says READY. FILE's base name is NAME below;
#                                     it must be the only one of the test. FAIL and 1 if it ends or stays silent
#                                     VPND_UNDER, an array, may hold a command that runs it: (env LD_PRELOAD=...)
#   vpnd_stop NAME                    SIGTERM, waits for the end; the daemon's exit status
#   vpnd_kill NAME                    SIGKILL, as a crash
#   vpnd_pid NAME, vpnd_log NAME      prints the process number, the log's path
#   ctl NAME COMMAND...               kcpctl for that daemon
#
#   ping_stats NS ADDRESS COUNT [PING OPTION...]
#                                     sets PING_SENT PING_RECEIVED PING_LOST PING_DUPLICATES and, in milliseconds,
#                                     PING_MIN PING_MEDIAN PING_AVG PING_P99 PING_MAX; 1 if nothing came back
#   ping_through NS ADDRESS COUNT [PING OPTION...]
#                                     the same for what delivers late rather than never: ping leaves two RTTs after its
#                                     last request, so an answer that comes later looks lost. This one goes on asking
#                                     until COUNT answers are in, 20 s at most, and judges the first COUNT requests
#   tcp_transfer CC CLIENT_NS SERVER_NS ADDRESS SECONDS [IPERF3 OPTION...]
#                                     sets TCP_MBPS (received payload, Mb/s) and TCP_RETRANSMITS; CC = cubic, reno, bbr
#   tcp_copy CLIENT_NS SERVER_NS ADDRESS BYTES SECONDS
#                                     sends random bytes over TCP; 0 if the same SHA-256 arrives in time
#   tcp_copy_start, the same          the same in the background, one at a time; tcp_copy_end waits and says how it went

set -u
umask 022 # vpnd runs no hook that others could have written

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PROFILE=${PROFILE:-release}
BIN=${BIN:-$ROOT/build/$PROFILE}
TEST_NAME=$(basename "$0" .sh)

OUTER_A4=192.0.2.1 OUTER_B4=192.0.2.2
OUTER_A6=2001:db8:ffff::1 OUTER_B6=2001:db8:ffff::2

FAILURES=0
NAMESPACES=()           # made here
SPAWNED=()              # process numbers
LEFTOVERS=()            # files and folders outside $RUN_DIR
declare -A VPND_PID=()  # by NAME, while it should run
VPND_UNDER=()
NS_A='' NS_B='' LAB_PID=''

pass() { printf 'PASS  %s\n' "$*"; }
fail() {
	printf 'FAIL  %s\n' "$*"
	FAILURES=$((FAILURES + 1))
	return 1
}
die() {
	fail "$*"
	exit 1
}
check() {
	local text=$1
	shift
	if "$@"; then pass "$text"; else fail "$text"; fi
}
expect() {
	if [ -n "$2" ] && [ -n "$4" ] && awk "BEGIN { exit !(($2) $3 ($4)) }"; then
		pass "$1 ($2 $3 $4)"
	else
		fail "$1: ${2:-nothing} is not $3 $4"
	fi
}
wait_for() {
	local text=$1 until=$((${EPOCHREALTIME/[.,]/} + $2 * 1000000))
	shift 2
	while ! "$@" >/dev/null 2>&1; do
		if [ "${EPOCHREALTIME/[.,]/}" -gt "$until" ]; then
			fail "$text: not within its time"
			return 1
		fi
		sleep 0.05
	done
}

[ "$(id -u)" -eq 0 ] || die "$TEST_NAME needs root: it makes network namespaces and TUN devices"
for _tool in ip nsenter ping jq awk; do
	command -v "$_tool" >/dev/null || die "$_tool is missing; scripts/deps installs it"
done
[ -c /dev/net/tun ] || die "/dev/net/tun is missing (modprobe tun)"
[ -x "$BIN/lab" ] || die "$BIN/lab is not built: make PROFILE=$PROFILE tests-build"

RUN_DIR=$(mktemp -d "/tmp/vpnd-$TEST_NAME.XXXXXX") || exit 1
chmod 755 "$RUN_DIR" # daemons give up root, and must still find their way
mkdir -p "$RUN_DIR"/{log,control,state,san}
chmod 1777 "$RUN_DIR/san"
if [ -z "${SAN_DIR:-}" ]; then # tests/run sets all of this; a person who runs the script alone gets the same
	SAN_DIR=$RUN_DIR/san
	export ASAN_OPTIONS=log_path=$SAN_DIR/asan:detect_leaks=1:abort_on_error=0
	export UBSAN_OPTIONS=log_path=$SAN_DIR/ubsan:print_stacktrace=1
fi

# ---- processes and namespaces ------------------------------------------------------------------------------------

# True if PID is still a child of this shell, subshell or not: a number that was used again is not.
is_ours() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	# shellcheck disable=SC2086
	set -- $stat
	[ "$1" != Z ] && [ "$2" -eq "$BASHPID" ]
}

# end_pid PID SIGNAL SECONDS: sends SIGNAL, later KILL. The exit status; 124 if it took KILL.
end_pid() {
	is_ours "$1" && kill "-$2" "$1" 2>/dev/null
	reap "$1" "$3"
}

reap() {
	local until=$((${EPOCHREALTIME/[.,]/} + $2 * 1000000)) killed=
	while is_ours "$1"; do
		if [ "${EPOCHREALTIME/[.,]/}" -gt "$until" ]; then
			kill -KILL "$1" 2>/dev/null
			killed=1
			break
		fi
		sleep 0.02
	done
	wait "$1" 2>/dev/null
	local status=$?
	[ -z "$killed" ] || return 124
	return $status
}

in_ns() {
	local ns=$1
	shift
	nsenter "--net=/run/netns/$ns" -- "$@"
}

spawn() {
	local var=$1 ns=$2 log=$RUN_DIR/log/$3.log
	[ "$BASHPID" = $$ ] || die "$3 is started in a subshell: nobody would end it"
	shift 3
	if [ "$ns" = - ]; then
		"$@" >>"$log" 2>&1 </dev/null &
	else
		nsenter "--net=/run/netns/$ns" -- "$@" >>"$log" 2>&1 </dev/null &
	fi
	SPAWNED+=($!)
	printf -v "$var" %s $!
}

netns_new() {
	local full="vt$$-$2"
	ip netns add "$full" || die "cannot make the network namespace $full"
	NAMESPACES+=("$full")
	in_ns "$full" ip link set lo up
	printf -v "$1" %s "$full"
}

cleanup() {
	local status=$? name pid ns file
	trap - EXIT
	trap '' INT TERM HUP PIPE
	for name in "${!VPND_PID[@]}"; do
		pid=${VPND_PID[$name]}
		if is_ours "$pid"; then
			kill -TERM "$(daemon_of "$pid")"
		else
			fail "vpnd $name ended by itself"
		fi
	done
	for name in "${!VPND_PID[@]}"; do
		reap "${VPND_PID[$name]}" 10
		[ $? -ne 124 ] || fail "vpnd $name did not end on SIGTERM"
	done
	for pid in "${SPAWNED[@]}"; do
		is_ours "$pid" && kill -TERM "$pid" 2>/dev/null
	done
	for pid in "${SPAWNED[@]}"; do
		reap "$pid" 5
	done
	for ns in "${NAMESPACES[@]}"; do
		ip netns del "$ns" || fail "cannot delete the namespace $ns"
	done
	[ ${#LEFTOVERS[@]} -eq 0 ] || rm -rf "${LEFTOVERS[@]}"
	if [ "$SAN_DIR" = "$RUN_DIR/san" ]; then
		for file in "$SAN_DIR"/*; do
			[ -e "$file" ] || continue
			fail "sanitizer report $(basename "$file")"
			head -n 60 "$file"
		done
	fi
	if [ "$FAILURES" -gt 0 ] || [ "$status" -ne 0 ]; then
		for file in "$RUN_DIR"/log/*; do
			[ -s "$file" ] || continue
			printf -- '---- the end of %s\n' "$(basename "$file")"
			tail -n 25 "$file"
		done
		[ "$status" -ne 0 ] || status=1
	fi
	rm -rf "$RUN_DIR"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP PIPE

# ---- the emulated link -------------------------------------------------------------------------------------------

lab_start() {
	[ -n "$NS_A" ] || netns_new NS_A a
	[ -n "$NS_B" ] || netns_new NS_B b
	mkfifo "$RUN_DIR/lab.ready"
	"$BIN/lab" --a "$NS_A:wan0:$OUTER_A4/24,$OUTER_A6/64" --b "$NS_B:wan0:$OUTER_B4/24,$OUTER_B6/64" \
		--control "$RUN_DIR/lab.sock" --ready-fd 3 "$@" 3>"$RUN_DIR/lab.ready" \
		>>"$RUN_DIR/log/lab.log" 2>&1 </dev/null &
	LAB_PID=$!
	SPAWNED+=("$LAB_PID")
	local line=
	read -r -t 20 line <"$RUN_DIR/lab.ready"
	rm -f "$RUN_DIR/lab.ready"
	[ "$line" = READY ] || die "the emulated link did not start"
}
lab_ctl() { "$BIN/lab" ctl "$RUN_DIR/lab.sock" "$@"; }
lab_stat() { lab_ctl stats | jq -r ".$1.$2"; }
lab_stop() {
	end_pid "$LAB_PID" TERM 5
	local status=$?
	LAB_PID=''
	return $status
}

# ---- vpnd --------------------------------------------------------------------------------------------------------

vpnd_start() {
	local ns=$1 file=$2 name notify waiter ended
	shift 2
	name=$(basename "$file" .yaml)
	notify=$RUN_DIR/$name.notify
	[ -z "${VPND_PID[$name]:-}" ] || die "vpnd_start: $name runs already"
	rm -f "$notify"
	spawn waiter - "$name.notify" "$BIN/lab" await "$notify" 30
	wait_for "the socket for READY" 5 test -S "$notify" || return 1
	mkdir -p "$RUN_DIR/state/$name"
	local pid
	spawn pid "$ns" "$name" ${VPND_UNDER[@]+"${VPND_UNDER[@]}"} env "NOTIFY_SOCKET=$notify" "STATE_DIRECTORY=$RUN_DIR/state/$name" \
		"$BIN/vpnd" -c "$file" --control "$RUN_DIR/control/$name/control.sock" "$@"
	wait -n -p ended "$waiter" "$pid"
	local status=$?
	if [ "$ended" = "$waiter" ] && [ $status -eq 0 ]; then
		VPND_PID[$name]=$pid
		return 0
	fi
	if [ "$ended" = "$pid" ]; then
		end_pid "$waiter" TERM 5
		VPND_EXIT=$status
		fail "vpnd $name ended with $status before it was ready"
	else
		kill -TERM "$(daemon_of "$pid")" 2>/dev/null
		reap "$pid" 10
		fail "vpnd $name did not say READY"
	fi
	return 1
}
# The daemon that was spawned as PID: what VPND_UNDER holds may have stayed above it, and a first process of a namespace
# does not hear of a SIGTERM.
daemon_of() {
	local pid=$1 comm
	while read -r comm 2>/dev/null <"/proc/$pid/comm" && [ "$comm" != vpnd ]; do
		pid=$(pgrep -P "$pid" | head -n 1)
		[ -n "$pid" ] || break
	done
	printf '%s\n' "${pid:-$1}"
}
vpnd_stop() {
	local pid=${VPND_PID[$1]:-}
	[ -n "$pid" ] || die "vpnd_stop: $1 does not run"
	unset "VPND_PID[$1]"
	is_ours "$pid" && kill -TERM "$(daemon_of "$pid")" 2>/dev/null
	reap "$pid" 15
}
vpnd_kill() {
	local pid=${VPND_PID[$1]:-}
	[ -n "$pid" ] || die "vpnd_kill: $1 does not run"
	unset "VPND_PID[$1]"
	end_pid "$pid" KILL 5
	return 0
}
vpnd_pid() { printf '%s\n' "${VPND_PID[$1]:-}"; }
vpnd_log() { printf '%s\n' "$RUN_DIR/log/$1.log"; }
ctl() {
	local name=$1
	shift
	"$BIN/kcpctl" --control "$RUN_DIR/control/$name/control.sock" "$@"
}

# ---- traffic -----------------------------------------------------------------------------------------------------

ping_stats() {
	local ns=$1 address=$2 count=$3 out=$RUN_DIR/ping.$$.txt times
	shift 3
	PING_SENT=0 PING_RECEIVED=0 PING_DUPLICATES=0
	PING_MIN='' PING_MEDIAN='' PING_AVG='' PING_P99='' PING_MAX=''
	in_ns "$ns" ping -n -c "$count" "$@" "$address" >"$out" 2>&1
	read -r PING_SENT PING_RECEIVED < <(sed -nE \
		's/^([0-9]+) packets transmitted, ([0-9]+) received.*/\1 \2/p' "$out")
	PING_SENT=${PING_SENT:-0} PING_RECEIVED=${PING_RECEIVED:-0}
	PING_LOST=$((PING_SENT - PING_RECEIVED))
	PING_DUPLICATES=$(grep -c 'DUP!' "$out")
	times=$(sed -nE '/DUP!/d; s/.* time=([0-9.]+) ms.*/\1/p' "$out" | sort -n)
	if [ -z "$times" ]; then
		tail -n 3 "$out"
		return 1
	fi
	read -r PING_MIN PING_MEDIAN PING_AVG PING_P99 PING_MAX < <(awk '{ t[NR] = $1; sum += $1 }
		END { m = int((NR + 1) / 2); p = int(NR * 0.99 + 0.999999)
		      print t[1], t[m], sum / NR, t[p], t[NR] }' <<<"$times")
}

ping_through() {
	local count=$3
	ping_stats "$@" -w 20
	PING_SENT=$count
	PING_RECEIVED=$(sed -nE '/DUP!/d; s/.* icmp_seq=([0-9]+) .*time=.*/\1/p' "$RUN_DIR/ping.$$.txt" |
		awk -v count="$count" '$1 <= count' | sort -u | wc -l)
	PING_LOST=$((PING_SENT - PING_RECEIVED))
	[ "$PING_RECEIVED" -gt 0 ]
}

tcp_transfer() {
	local cc=$1 client=$2 server=$3 address=$4 seconds=$5 server_pid out=$RUN_DIR/iperf.json
	shift 5
	TCP_MBPS=0 TCP_RETRANSMITS=0
	spawn server_pid "$server" iperf3-server iperf3 -s -1
	wait_for "iperf3 listens" 10 listens "$server" 5201 || return 1
	in_ns "$client" timeout $((seconds + 30)) iperf3 -J -C "$cc" -c "$address" -t "$seconds" "$@" >"$out" 2>&1
	local status=$?
	[ $status -ne 0 ] || reap "$server_pid" 5
	end_pid "$server_pid" TERM 5 2>/dev/null
	# iperf3 may say that it failed and exit with 0.
	if [ $status -ne 0 ] || ! jq -e '.end.sum_received.bits_per_second' "$out" >/dev/null; then
		tail -n 5 "$out"
		return 1
	fi
	TCP_MBPS=$(jq -r '.end.sum_received.bits_per_second / 1e6 * 100 | round / 100' "$out")
	TCP_RETRANSMITS=$(jq -r '.end.sum_sent.retransmits' "$out")
	local used
	used=$(jq -r '.end.sender_tcp_congestion' "$out")
	[ "$used" = "$cc" ] || fail "iperf3 used congestion control $used, not $cc"
}

# True if a TCP socket listens on PORT in NS.
listens() { [ -n "$(in_ns "$1" ss -Htln "sport = :$2")" ]; }

tcp_copy_start() {
	local client=$1 server=$2 address=$3 bytes=$4 seconds=$5 family=-4
	COPY_CLIENT='' COPY_SERVER='' COPY_SECONDS=$seconds
	head -c "$bytes" /dev/urandom >"$RUN_DIR/copy.in"
	[[ $address != *:* ]] || family=-6
	# shellcheck disable=SC2016
	spawn COPY_SERVER "$server" tcp_copy-server sh -c 'exec nc "$1" -l 5202 >"$2"' sh $family "$RUN_DIR/copy.out"
	wait_for "nc listens" 10 listens "$server" 5202 || return 1
	# shellcheck disable=SC2016
	spawn COPY_CLIENT "$client" tcp_copy-client sh -c 'exec timeout "$1" nc -N "$2" 5202 <"$3"' sh "$seconds" "$address" \
		"$RUN_DIR/copy.in"
}
tcp_copy_end() {
	local status=1
	if [ -n "$COPY_CLIENT" ]; then
		reap "$COPY_CLIENT" $((COPY_SECONDS + 5))
		status=$?
	fi
	[ $status -ne 0 ] || reap "$COPY_SERVER" 10 || status=1
	end_pid "$COPY_SERVER" TERM 5 2>/dev/null # it still listens if nobody came
	[ $status -eq 0 ] && [ "$(sha256sum <"$RUN_DIR/copy.in")" = "$(sha256sum <"$RUN_DIR/copy.out")" ]
}
tcp_copy() {
	tcp_copy_start "$@"
	tcp_copy_end
}
