# shellcheck shell=bash
# Networks for the tests of vpnd in namespaces, and what they ask the daemons. Sources lib.sh.
#
#   network NAME N LINE...       writes $RUN_DIR/NAME.yaml: kcp-go wire, interface kcp0 with 10.99.0.N/24 and
#                                fd99::N/64, then the LINEs (listen, session, peers, ...). NETWORK_KCP_GO holds
#                                more keys of kcp_go, "datashard: 3, parityshard: 1"; NETWORK_KEY the key;
#                                NETWORK_ADDRESSES, if not empty, the addresses instead
#   native NAME N LINE...        the same for the native wire, with a key of its own in $RUN_DIR/NAME.key
#   native_key NAME              prints the public half of that key, which is made if it is not there
#   inner4 N, inner6 N           the inner address of N
#   rpc NAME METHOD [PARAMS]     one request to the control socket without kcpctl; prints the answer
#   status NAME [FILTER]         the status document, through jq -r FILTER
#   peer_is NAME PEER STATE...   true if the peer is in one of the states
#   dropped NAME PEER VERDICT    how often
#   answers NS ADDRESS [ARG...]  true if one ping comes back within a second
#   all_answer TEXT NS ADDRESS COUNT [PING OPTION...]
#                                PASS if all come back
#   joined NS ADDRESS            waits until the tunnel carries pings
#   seconds_until SECONDS COMMAND...
#                                asks until COMMAND succeeds; sets TOOK to the seconds it took, '' if it did not
#   listening UDP sockets, rss:  udp_ports NS; rss_kb NAME
#   pings_start NAME NS ADDRESS  asks 100 times a second, until pings_stop NAME. That sets PINGS_SENT, PINGS_LOST and
#                                PINGS_GAP, the longest time in seconds without an answer
#   stall_start, stall_stop      watches how long a process has to wait for a processor meanwhile. stall_stop sets STALL, the
#                                longest such wait in seconds; a bound on time grows by what it may meet on its way:
#                                within BOUND [PROCESSES] prints BOUND + PROCESSES x STALL (default 5: there and back a
#                                packet wakes two daemons, the link twice and who waits for it)
#   record NAME NS DEVICE [EXPRESSION...]
#                                tcpdump into $RUN_DIR/NAME.pcap, until record_stop NAME; for tools/datagrams.py, which
#                                is called by datagrams VERB ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NETWORK_KEY='correct horse battery staple' NETWORK_KCP_GO='' NETWORK_ADDRESSES=''

network() {
	local name=$1 n=$2
	shift 2
	{
		printf '%s\n' 'version: 1' 'wire: kcp-go' \
			"kcp_go: {key: $NETWORK_KEY, allow_unauthenticated: true${NETWORK_KCP_GO:+, $NETWORK_KCP_GO}}" \
			"interface: {name: kcp0, addresses: [${NETWORK_ADDRESSES:-10.99.0.$n/24, \"fd99::$n/64\"}]}" "$@"
	} >"$RUN_DIR/$name.yaml"
	chmod 600 "$RUN_DIR/$name.yaml"
}
native_key() {
	[ -e "$RUN_DIR/$1.key" ] || "$BIN/kcpctl" key gen "$RUN_DIR/$1.key" >/dev/null || die "no key for $1"
	"$BIN/kcpctl" key pub "$RUN_DIR/$1.key"
}
native() {
	local name=$1 n=$2
	shift 2
	native_key "$name" >/dev/null
	printf '%s\n' 'version: 1' "identity: {private_key_file: $name.key}" \
		"interface: {name: kcp0, addresses: [${NETWORK_ADDRESSES:-10.99.0.$n/24, \"fd99::$n/64\"}]}" "$@" \
		>"$RUN_DIR/$name.yaml"
}
inner4() { printf '10.99.0.%s\n' "$1"; }
inner6() { printf 'fd99::%s\n' "$1"; }

rpc() {
	printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' "$2" "${3:-{\}}" |
		timeout 5 nc -N -U "$RUN_DIR/control/$1/control.sock"
}
status() { rpc "$1" status | jq -r ".result | ${2:-.}"; }
peer_is() {
	local is
	is=$(status "$1" ".peers[] | select(.name == \"$2\") | .state")
	shift 2
	[[ " $* " == *" $is "* ]]
}
dropped() { status "$1" "[.peers[] | select(.name == \"$2\") | .drops[\"$3\"] // 0] | add"; }

answers() {
	local ns=$1 address=$2
	shift 2
	in_ns "$ns" ping -n -q -c 1 -W 1 "$@" "$address" >/dev/null 2>&1
}
all_answer() {
	local text=$1
	shift
	ping_through "$@"
	expect "$text: lost pings" "$PING_LOST" == 0
}
joined() { wait_for "the tunnel carries pings" 20 answers "$1" "$2"; }

seconds_until() {
	local from=${EPOCHREALTIME/[.,]/} limit=$1
	shift
	TOOK=''
	while ! "$@" >/dev/null 2>&1; do
		[ $((${EPOCHREALTIME/[.,]/} - from)) -lt $((limit * 1000000)) ] || return 1
		sleep 0.05
	done
	TOOK=$(awk "BEGIN { printf \"%.2f\", (${EPOCHREALTIME/[.,]/} - $from) / 1e6 }")
}

udp_ports() { in_ns "$1" ss -Hluan | awk '{ print $4 }' | sort -u; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$(vpnd_pid "$1")/status"; }

declare -A PINGS_PID=() RECORD_PID=()
STALL_PID='' STALL=0
pings_start() {
	spawn "PINGS_PID[$1]" "$2" "pings-$1" ping -n -D -i 0.01 "$3"
}
pings_stop() {
	local log=$RUN_DIR/log/pings-$1.log end=$EPOCHREALTIME
	end_pid "${PINGS_PID[$1]}" INT 3
	# The last ones may have been on their way: up to the last answer all count, and a silence up to the end is a gap.
	read -r PINGS_SENT PINGS_LOST PINGS_GAP < <(awk -F '[][ =]' -v end="$end" '
		/ time=/ && !/DUP!/ {
			if (last && $2 - last > gap) gap = $2 - last
			last = $2; got++
			if ($9 > sent) sent = $9
		}
		END {
			if (end - last > gap) gap = end - last
			printf "%d %d %.3f\n", sent, sent - got, gap
		}' "$log")
	grep -v ' time=' "$log" >"$log.end"
	rm -f "$log"
}

stall_start() {
	spawn STALL_PID - "stall" python3 "$ROOT/tests/netns/tools/stall.py"
}
stall_stop() {
	end_pid "$STALL_PID" TERM 5
	STALL=$(tail -n 1 "$RUN_DIR/log/stall.log")
}
within() { awk "BEGIN { printf \"%.3f\", $1 + ${2:-5} * ${STALL:-0} }"; }

# Without --immediate-mode the kernel may keep the last datagrams of a slow stream for itself. With it each takes a slot of
# the snapshot length, so the default would leave few.
record() {
	local name=$1 ns=$2 device=$3
	shift 3
	# shellcheck disable=SC2140
	spawn "RECORD_PID[$name]" "$ns" "record-$name" tcpdump -n -U --immediate-mode -Z root -B 8192 -s 2048 -i "$device" -w "$RUN_DIR/$name.pcap" "${@:-udp}"
	wait_for "tcpdump listens" 10 grep -q 'listening on' "$RUN_DIR/log/record-$name.log"
}
record_stop() {
	sleep 0.1 # what was seen last may still be on its way through the kernel
	end_pid "${RECORD_PID[$1]}" INT 5
}
datagrams() { python3 "$ROOT/tests/netns/tools/datagrams.py" "$@"; }
