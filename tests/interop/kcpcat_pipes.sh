#!/bin/bash
# profiles: release asan
# timeout: 120
#
# kcpcat as a part of pipelines, on the loopback of a namespace: readers that are slow or leave, clients that die, keys
# in the process list, exit status.
#
#     kcpcat HOST PORT  --- UDP on lo ---  kcpcat -l [-k] [-e]  - fifo - a reader held by this script
#
# usage: [PROFILE=asan] tests/interop/kcpcat_pipes.sh [KCPCAT]
. "$(dirname "$0")/../netns/lib.sh"

KCPCAT=${1:-$BIN/kcpcat}
KEY=(--key-hex 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff)
CLIENT_PORT=40001 # of a client that comes again with the same address
SERVER=''

netns_new NS lo

# Each listener has a port of its own.
PORT=5000
is_free() { ! bound "$1"; }
bound() { in_ns "$NS" grep -q "$(printf ':%04X ' "$1")" /proc/net/udp /proc/net/udp6; }

# serve STDOUT OPTION...: starts a listener, sets SERVER and PORT
serve() {
	local out=$1
	shift
	PORT=$((PORT + 1))
	# shellcheck disable=SC2016
	spawn SERVER "$NS" "server-$PORT" \
		bash -c 'exec "${@:2}" >"$1" 5<&-' serve "$out" "$KCPCAT" -l "${KEY[@]}" "$@" 127.0.0.1 "$PORT"
	wait_for "listener on $PORT" 5 bound "$PORT" || exit 1
}

dial() { in_ns "$NS" timeout 10 "$KCPCAT" "${KEY[@]}" "$@" 127.0.0.1 "$PORT"; }
bytes() { head -c "$1" /dev/urandom; }
digest() { sha256sum "$1" | cut -c1-64; }
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
has_ended() { ! is_ours "$1"; }

# leaves TEXT STATUS: the listener ends by itself
leaves() {
	wait_for "$1: the listener ends" 5 has_ended "$SERVER"
	end_pid "$SERVER" KILL 1
	expect "$1: exit status" $? == "$2"
}

# echoes TEXT BYTES OPTION...: a dialler gets back what it sends
echoes() {
	local text=$1 sent=$RUN_DIR/sent.$BASHPID got=$RUN_DIR/got.$BASHPID
	bytes "$2" >"$sent"
	shift 2
	dial --idle 0.5 "$@" <"$sent" >"$got"
	check "$text" cmp -s "$sent" "$got"
}

# ---- nobody is there: five seconds, so the others run meanwhile ----
SECONDS_FILE=$RUN_DIR/dead-port
(
	began=$EPOCHREALTIME status=0
	echo hello | in_ns "$NS" timeout 15 "$KCPCAT" "${KEY[@]}" --idle 0.5 127.0.0.1 4999 || status=$?
	echo "$status $(awk "BEGIN { print $EPOCHREALTIME - $began }")" >"$SECONDS_FILE"
) &
DEAD_PORT=$!

# ---- a slow reader of all that come ----
FIFO=$RUN_DIR/fifo
mkfifo "$FIFO"
exec 5<>"$FIFO" # opens without waiting; the reader reads from it
serve "$FIFO" -k --idle 0.6
bytes 600000 >"$RUN_DIR/slow"
check "the sender to a slow reader may leave" dial --idle 0.3 <"$RUN_DIR/slow"
before=$(cpu_ticks "$SERVER")
sleep 1.5 # nothing is read: the conversation is closed for being idle meanwhile
timeout 5 head -c 1000 <&5 >"$RUN_DIR/slow.got"
timeout 5 head -c 599000 <&5 >>"$RUN_DIR/slow.got"
sleep 1 # what still waited for a pipe that has room would keep the processor busy now
expect "CPU ticks in more than 2.5 s" $(($(cpu_ticks "$SERVER") - before)) '<=' 30
expect "what a closed conversation had received is read" "$(stat -c %s "$RUN_DIR/slow.got")" == 600000
check "and is the same" [ "$(digest "$RUN_DIR/slow")" = "$(digest "$RUN_DIR/slow.got")" ]
check "the listener serves on" is_ours "$SERVER"

# two at once, more than their windows: the sum arrives
bytes 2000000 | dial --idle 0.3 &
ONE=$!
bytes 2000000 | dial --idle 0.3 &
TWO=$!
COUNT=$({ for _ in 1 2 3 4; do
	timeout 5 head -c 1000000 <&5
	sleep 0.2
done; } | wc -c)
wait $ONE && wait $TWO
check "both senders were acknowledged" [ $? -eq 0 ]
expect "two senders, one slow reader: bytes" "$COUNT" == 4000000

# ---- the reader leaves while data waits for it ----
bytes 300000 | dial --idle 0.3
exec 5<&-
leaves "the reader left" 1

# the same for a listener of one session, which closes before all is read
exec 5<>"$FIFO"
serve "$FIFO" --idle 0.5
check "a sender to a listener of one session" dial --idle 0.3 <"$RUN_DIR/slow"
sleep 1
timeout 5 head -c 600000 <&5 >"$RUN_DIR/slow.got"
check "all of one session is read" cmp -s "$RUN_DIR/slow" "$RUN_DIR/slow.got"
leaves "a listener of one session" 0
exec 5<&-

# ---- the keys are not in the process list ----
serve /dev/null -k -e
check "--key-hex is not in the process list" \
	[ "$(tr '\0' ' ' <"/proc/$SERVER/cmdline" | grep -c 00112233)" -eq 0 ]
check "the process list is read at all" grep -q -a -- --key-hex "/proc/$SERVER/cmdline"

# ---- one of two clients of an echo dies, and comes again from the same port ----
ports() { in_ns "$NS" sysctl -q -w "net.ipv4.ip_local_port_range=$*"; }
ports $CLIENT_PORT $CLIENT_PORT
spawn CLIENT "$NS" client bash -c 'head -c 4000000 /dev/zero | exec "$@" >/dev/null' client \
	"$KCPCAT" "${KEY[@]}" --idle 5 127.0.0.1 "$PORT"
wait_for "the first client" 5 bound $CLIENT_PORT
ports 42000 43000
echoes "a second client beside the first" 300000
CHILD=$(in_ns "$NS" pgrep -n -P "$CLIENT" -f "$KCPCAT" || echo "$CLIENT")
kill -KILL "$CHILD" "$CLIENT"
reap "$CLIENT" 5
wait_for "the first client's port is free" 5 is_free $CLIENT_PORT
ports $CLIENT_PORT $CLIENT_PORT
echoes "the first client again, from the same port" 300000
ports 42000 43000
echoes "a client after that" 300000
echoes "64 KiB messages come back from a stream" 200000 --message
check "the echo serves on" is_ours "$SERVER"

serve /dev/null -k -e --sndwnd 1
echoes "messages longer than the echo's send queue" 60000 --message

serve /dev/null -k -e --sndwnd 4 --message
dial --message --idle 0.3 <"$RUN_DIR/slow" >/dev/null
check "a message that cannot be echoed ends its conversation only" is_ours "$SERVER"
echoes "the next client's can" 3000 --message

# ---- usage ----
usage() {
	in_ns "$NS" timeout 5 "$KCPCAT" "$@" </dev/null >/dev/null 2>&1
	local status=$?
	expect "usage error: kcpcat $(sed -E "s/[0-9a-f]{64}/.../" <<<"$*")" $status == 2
}
usage
usage "${KEY[@]}" 127.0.0.1
usage 127.0.0.1 5000
usage -k "${KEY[@]}" 127.0.0.1 5000
usage -l -e --sink "${KEY[@]}" 5000
usage -l --conv 1 "${KEY[@]}" 5000
usage --mtu 1501 "${KEY[@]}" 127.0.0.1 5000
usage --idle nan "${KEY[@]}" 127.0.0.1 5000
usage --key-hex 00 127.0.0.1 5000
usage --none "${KEY[@]}" 127.0.0.1 5000

wait "$DEAD_PORT"
read -r status seconds <"$SECONDS_FILE"
expect "exit status of dialling a dead port" "$status" == 8
expect "seconds of dialling a dead port" "$seconds" '<=' 9
[ "$FAILURES" -eq 0 ]
