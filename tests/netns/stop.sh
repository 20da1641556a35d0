#!/bin/bash
# timeout: 120
#
# Start and end of one daemon: what it leaves behind (nothing), and what it says when it cannot start. No traffic.
#
#     site A: 10.99.0.1 kcp0 - vpnd, listens on 127.0.0.1:29900, dials 127.0.0.1:29999 where nobody is
. "$(dirname "$0")/lib_sites.sh"

netns_new NS site
network one 1 'listen: ["127.0.0.1:29900"]' 'routes: {metric: 41}' \
	'peers: {b: {endpoints: ["127.0.0.1:29999"], allowed_ips: [10.99.0.2, 10.77.0.0/16, "fd77::/48"]}}'
SOCKET=$RUN_DIR/control/one/control.sock

# The host as the network sees it, without the counters.
host() {
	in_ns "$NS" ip -o link show | sed 's/ state .*//'
	in_ns "$NS" ip -o addr show | awk '{ print $2, $3, $4 }'
	in_ns "$NS" ip route show table all
	in_ns "$NS" ip -6 route show table all
	in_ns "$NS" ss -Hluan
	find "$RUN_DIR/control" | sort
}
host >"$RUN_DIR/before"
clean() {
	host >"$RUN_DIR/after"
	check "$1: no interface, route, address, socket or folder is left" cmp -s "$RUN_DIR/before" "$RUN_DIR/after" ||
		diff "$RUN_DIR/before" "$RUN_DIR/after"
}

# vpnd_fails TEXT STATUS REGEX ARGUMENT...: it must end by itself, and say why
vpnd_fails() {
	local text=$1 want=$2 regex=$3
	shift 3
	in_ns "$NS" timeout 10 "$@" >"$RUN_DIR/said" 2>&1 </dev/null
	expect "$text: exit status" $? == "$want"
	check "$text: it says why" grep -qE "$regex" "$RUN_DIR/said" || cat "$RUN_DIR/said"
}

# ---- it ends in order ----
for signal in TERM INT; do
	vpnd_start "$NS" "$RUN_DIR/one.yaml" || exit 1
	check "SIG$signal: before it, there is an address" [ -n "$(in_ns "$NS" ip -o addr show kcp0 to 10.99.0.1)" ]
	check "SIG$signal: a route" [ -n "$(in_ns "$NS" ip route show 10.77.0.0/16 dev kcp0 metric 41)" ]
	check "SIG$signal: an IPv6 route" [ -n "$(in_ns "$NS" ip -6 route show fd77::/48 dev kcp0 metric 41)" ]
	check "SIG$signal: a UDP port" [ -n "$(in_ns "$NS" ss -Hluan 'sport = :29900')" ]
	check "SIG$signal: the control socket has mode 0660, root's" [ "$(stat -c '%a %u' "$SOCKET")" = '660 0' ]
	pid=$(vpnd_pid one)
	unset "VPND_PID[one]"
	end_pid "$pid" "$signal" 10
	expect "SIG$signal: exit status" $? == 0
	clean "SIG$signal"
done

# ---- it is there already ----
vpnd_start "$NS" "$RUN_DIR/one.yaml" || exit 1
cp -p "$RUN_DIR/one.yaml" "$RUN_DIR/two.yaml"
vpnd_fails "the same network twice" 1 "already running.*$SOCKET" \
	"$BIN/vpnd" -c "$RUN_DIR/one.yaml" --control "$SOCKET"
vpnd_fails "another daemon with the same interface" 1 'kcp0.*another program holds it' \
	"$BIN/vpnd" -c "$RUN_DIR/two.yaml" --control "$RUN_DIR/control/two/control.sock"
sed -i 's/name: kcp0/name: kcp1/; s/10\.99\.0\.1/10.98.0.1/; s/fd99::/fd98::/' "$RUN_DIR/two.yaml"
vpnd_fails "a port that is taken" 1 'cannot listen on 127\.0\.0\.1:29900: another program uses the port' \
	"$BIN/vpnd" -c "$RUN_DIR/two.yaml" --control "$RUN_DIR/control/two/control.sock"
check "the first one does not notice" [ "$(rpc one hello | jq -r .result.network)" = one ]
check "its device is still there" [ -n "$(in_ns "$NS" ip -o addr show kcp0 to 10.99.0.1)" ]
check "the others left no device" [ -z "$(in_ns "$NS" ip -o link show kcp1 2>/dev/null)" ]
check "and no folder" [ ! -e "$RUN_DIR/control/two" ]
check "it ends in order" vpnd_stop one
clean "after those"

in_ns "$NS" ip link add kcp0 type dummy 2>/dev/null || in_ns "$NS" ip link add kcp0 type bridge
vpnd_fails "the interface's name belongs to another kind of device" 1 'kcp0' \
	"$BIN/vpnd" -c "$RUN_DIR/one.yaml" --control "$SOCKET"
in_ns "$NS" ip link del kcp0

# ---- after a crash the helper removes the socket; where it was killed too, a dead socket is replaced. At the default
# place here ----
[ -d /run/vpnd ] || made_run=1
DEFAULT=/run/vpnd/stop$$/control.sock
LEFTOVERS+=("${DEFAULT%/*}")
cp -p "$RUN_DIR/one.yaml" "$RUN_DIR/stop$$.yaml"
vpnd_start "$NS" "$RUN_DIR/stop$$.yaml" --control "$DEFAULT" || exit 1
vpnd_kill "stop$$"
wait_for "the helper removes the socket after a crash" 5 test ! -e "$DEFAULT" &&
	pass "the helper removes the socket after a crash"
vpnd_start "$NS" "$RUN_DIR/stop$$.yaml" --control "$DEFAULT" || exit 1
kill -KILL "$(pgrep -P "$(vpnd_pid "stop$$")")"
vpnd_kill "stop$$"
check "a crash of both leaves it" [ -S "$DEFAULT" ]
vpnd_start "$NS" "$RUN_DIR/stop$$.yaml" --control "$DEFAULT" || exit 1
check "the next daemon answers on it" nc -z -U "$DEFAULT"
check "it ends in order" vpnd_stop "stop$$"
check "and removes socket and folder" [ ! -e "/run/vpnd/stop$$" ]
clean "after a crash and another start"
[ -z "${made_run:-}" ] || rmdir /run/vpnd 2>/dev/null

# ---- somebody deletes the device: the daemon cannot go on, says so and ends, so that a service manager starts it anew
vpnd_start "$NS" "$RUN_DIR/one.yaml" || exit 1
pid=$(vpnd_pid one)
unset "VPND_PID[one]"
in_ns "$NS" ip link del kcp0
reap "$pid" 10
expect "the device is deleted: exit status" $? == 1
check "it says so" grep -q 'interface kcp0 was deleted' "$(vpnd_log one)"
check "and nothing else is in the way" [ -z "$(sed '1,/was deleted/d' "$(vpnd_log one)")" ]
clean "the device is deleted"

# ---- without the right to do it; what it needs to read lies open ----
chmod 644 "$RUN_DIR/one.yaml"
mkdir -m 1777 "$RUN_DIR/open"
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all)
cp "$BIN/vpnd" "$RUN_DIR/vpnd" # the tree itself may be out of reach
vpnd_fails "not root" 4 'E-PRIV-1.*CAP_NET_ADMIN' \
	"${nobody[@]}" "$RUN_DIR/vpnd" -c "$RUN_DIR/one.yaml" --control "$RUN_DIR/open/nobody/control.sock"
check "a hint says what to do" grep -qi 'start as root' "$RUN_DIR/said"
vpnd_fails "not root, at the default place" 4 'root' "${nobody[@]}" "$RUN_DIR/vpnd" -c "$RUN_DIR/one.yaml"
clean "not root"

# ---- --check touches nothing ----
vpnd_fails "--check of a good file" 0 '' "$BIN/vpnd" -c "$RUN_DIR/one.yaml" --check
sed 's/metric: 41/metrik: 41/' "$RUN_DIR/one.yaml" >"$RUN_DIR/bad.yaml"
vpnd_fails "--check of a bad file" 5 'bad\.yaml:[0-9]+:[0-9]+: unknown key "metrik".*did you mean "metric"' \
	"$BIN/vpnd" -c "$RUN_DIR/bad.yaml" --check
vpnd_fails "a bad file" 5 'bad\.yaml:[0-9]+:[0-9]+: unknown key "metrik"' "$BIN/vpnd" -c "$RUN_DIR/bad.yaml"
vpnd_fails "no file" 5 'nothing\.yaml.*No such file' "$BIN/vpnd" -c "$RUN_DIR/nothing.yaml"
sed 's/^wire: kcp-go$//; /^kcp_go/d' "$RUN_DIR/one.yaml" >"$RUN_DIR/native.yaml"
vpnd_fails "the native wire without a key" 5 'private_key_file is missing; make a key: kcpctl key gen .*/native\.key' \
	"$BIN/vpnd" -c "$RUN_DIR/native.yaml"
sed 's/, allow_unauthenticated: true//' "$RUN_DIR/one.yaml" >"$RUN_DIR/unsaid.yaml"
vpnd_fails "the kcp-go wire without a word for it" 5 'allow_unauthenticated is missing' \
	"$BIN/vpnd" -c "$RUN_DIR/unsaid.yaml"
vpnd_fails "an unknown option" 2 '' "$BIN/vpnd" --frobnicate
vpnd_fails "no network named" 2 'NAME' "$BIN/vpnd"
clean "after all that"
