#!/bin/bash
# timeout: 150
# takes: 54 s, 7 s of CPU
#
# What a service manager passes to vpnd and hears of it, played by tools/manager.py: the control socket that starts the
# daemon, READY, RELOADING, WATCHDOG, STOPPING; and a daemon that has the rights of the unit, and no others.
#
#     manager.py -- socket, notify --> vpnd a   192.0.2.1 ═══ emulated link ═══ 192.0.2.2   vpnd b
. "$(dirname "$0")/lib_sites.sh"

netns_new NS_A a
netns_new NS_B b
lab_start
native a 1 "listen: ['192.0.2.1:29900']" "peers: {b: {public_key: $(native_key b), endpoints: ['192.0.2.2:29900'], allowed_ips: [10.99.0.2]}}"
native b 2 "listen: ['192.0.2.2:29900']" "peers: {a: {public_key: $(native_key a), allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1

mkdir -p "$RUN_DIR/control/a" "$RUN_DIR/state/a"
SOCKET=$RUN_DIR/control/a/control.sock
EVENTS=$RUN_DIR/log/events # what manager.py says
events() { jq -c "$@" "$EVENTS" 2>/dev/null; }
count() { events "select($1)" | wc -l; }
last() { events -r "select($1)" | tail -n 1; }
at_least() { [ "$(count "$1")" -ge "$2" ]; }
worker() { last .started | jq .started; }
manage() { # OPTION...
	rm -f "$RUN_DIR/notify" "$EVENTS"
	spawn MANAGER "$NS_A" managed env "STATE_DIRECTORY=$RUN_DIR/state/a" python3 "$ROOT/tests/netns/tools/manager.py" "$@" \
		"$EVENTS" "$SOCKET" "$RUN_DIR/notify" "${UNDER[@]}" "$BIN/vpnd" -c "$RUN_DIR/a.yaml" --control "$SOCKET"
	wait_for "the socket is there" 10 test -S "$RUN_DIR/notify"
}
UNDER=()

# ---- started by whoever asks ----
manage --watchdog 3
expect "before anybody asks, daemons" "$(count .started)" == 0
asked() { ctl a --timeout 20s -o json status >"$RUN_DIR/said"; }
check "who asks is answered" asked
expect "daemons" "$(count .started)" == 1
check "it says READY, itself" at_least ".said.READY and .from == $(worker)" 1
check "and what it is" grep -q 'Network a on kcp0, 1 peers' <<<"$(last .said.STATUS)"
expect "mode and owner of the socket are those of the daemon's own: $(stat -c '%a %u' "$SOCKET"), mode" "$(stat -c %a "$SOCKET")" == 660
joined "$NS_A" 10.99.0.2

# ---- alive ----
wait_for "signs of life" 20 at_least .said.WATCHDOG 5 && pass "signs of life"
expect "the longest time between two, s" "$(events 'select(.said.WATCHDOG or .said.READY) | .at' |
	awk 'p && $1 - p > most { most = $1 - p } { p = $1 } END { print most / 1e6 }')" '<' 3
expect "it was taken for dead" "$(count .silent)" == 0

# ---- reload ----
reloads() { # TEXT COMMAND...
	local text=$1 before readies
	shift
	before=$(count .said.RELOADING) readies=$(count .said.READY)
	"$@" >"$RUN_DIR/said" 2>&1
	wait_for "$text: RELOADING" 10 at_least .said.RELOADING $((before + 1))
	wait_for "$text: READY" 10 at_least .said.READY $((readies + 1))
	expect "$text: MONOTONIC_USEC is that moment's, s" \
		"$(last .said.RELOADING | jq '(.at - (.said.MONOTONIC_USEC | tonumber)) / 1e6 | if . < 0 then 99 else . end')" '<' 2
	expect "$text: READY comes after it" "$(last .said.READY | jq .at)" '>=' "$(last .said.RELOADING | jq .at)"
}
reloads "SIGHUP" kill -HUP "$(worker)"
reloads "kcpctl reload" ctl a reload
cp "$RUN_DIR/a.yaml" "$RUN_DIR/a.good"
sed -i 's/allowed_ips/allowed_ip/' "$RUN_DIR/a.yaml"
reloads "a bad file" kill -HUP "$(worker)"
cp "$RUN_DIR/a.good" "$RUN_DIR/a.yaml"
all_answer "the tunnel stayed" "$NS_A" 10.99.0.2 5 -i 0.05

# ---- it ends by order; the next one who asks starts it ----
first=$(worker)
kill -TERM "$first"
wait_for "it ends" 15 at_least '.ended == 0' 1
check "it said STOPPING" at_least ".said.STOPPING and .from == $first" 1
check "the socket stays" test -S "$SOCKET"
check "the next who asks is answered" asked
expect "by another daemon" "$(count .started)" == 2
joined "$NS_A" 10.99.0.2

# ---- it hangs ----
readies=$(count .said.READY)
kill -STOP "$(worker)"
wait_for "one that hangs is noticed" 20 at_least .silent 1 && pass "one that hangs is noticed"
wait_for "and started anew" 30 at_least .said.READY $((readies + 1)) && pass "and started anew"
check "on the same socket" asked
joined "$NS_A" 10.99.0.2

# ---- it crashes: its helper leaves the socket alone ----
readies=$(count .said.READY)
kill -KILL "$(worker)"
wait_for "one that crashed is started anew" 30 at_least .said.READY $((readies + 1)) && pass "one that crashed is started anew"
check "the socket answers" asked
end_pid "$MANAGER" TERM 20
check "at the end the socket is gone" [ ! -e "$SOCKET" ]

# ---- with the rights of the unit, and no others ----
unit=$ROOT/configs/systemd/vpnd@.service.in
user=vpnd
id vpnd >/dev/null 2>&1 || user=nobody
mapfile -t caps < <(sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr ' ' '\n' | sed 's/^CAP_/+/' | tr '[:upper:]' '[:lower:]')
expect "capabilities of the unit" ${#caps[@]} '>' 2
group=$(id -g "$user")
UNDER=(setpriv --regid "$group" --clear-groups --inh-caps=-all "--bounding-set=-all,$(IFS=,; echo "${caps[*]}")" --no-new-privs)
# The unit's filter of system calls, as the lines say one after the other; sanitizers need more than it lets through.
expand() {
	local word
	for word; do
		case $word in
		@*) mapfile -t -O "${#names[@]}" names < <(names=(); group_of "$word") ;;
		*) names+=("$word") ;;
		esac
	done
}
group_of() { # prints what is in the group, groups in it expanded
	local words
	mapfile -t words < <(systemd-analyze syscall-filter "$1" | sed -n 's/^ *\([@a-z][a-z0-9_-]*\)$/\1/p' | grep -vxF "$1")
	expand "${words[@]}"
	printf '%s\n' "${names[@]}"
}
if [ "$PROFILE" = release ]; then
	"${CC:-cc}" -D_GNU_SOURCE -O1 -o "$RUN_DIR/unit_filter" "$ROOT/tests/netns/tools/unit_filter.c" -lseccomp || die "unit_filter.c cannot be compiled"
	: >"$RUN_DIR/calls"
	while read -r line; do
		names=()
		# shellcheck disable=SC2086
		expand ${line#\~}
		case $line in
		\~*) printf '%s\n' "${names[@]}" >"$RUN_DIR/not" && grep -vxFf "$RUN_DIR/not" "$RUN_DIR/calls" >"$RUN_DIR/left" && mv "$RUN_DIR/left" "$RUN_DIR/calls" ;;
		*) printf '%s\n' "${names[@]}" >>"$RUN_DIR/calls" ;;
		esac
	done < <(sed -n 's/^SystemCallFilter=//p' "$unit")
	expect "system calls that the unit allows" "$(sort -u "$RUN_DIR/calls" | wc -l)" '>' 250
	# and its view of the files: all but its own folders is for reading, /proc has processes alone, and not those of others
	# shellcheck disable=SC2016
	ROOM='mount --make-rprivate / && for d in control state; do mount --bind "$0/$d" "$0/$d" || exit; done &&
		mount -o remount,bind,ro / && mount -t proc -o hidepid=invisible,subset=pid proc /proc && exec "$@"'
	UNDER=(unshare --mount sh -c "$ROOM" "$RUN_DIR" "${UNDER[@]}" "$RUN_DIR/unit_filter" "$unit" "$RUN_DIR/calls")
	"${UNDER[@]}" sh -c 'nice -n 1 true' >"$RUN_DIR/said" 2>&1
	check "what it forbids is forbidden" grep -q 'cannot set niceness' "$RUN_DIR/said"
	if "${UNDER[@]}" touch "$RUN_DIR/x" 2>/dev/null || "${UNDER[@]}" cat /proc/sys/kernel/ostype 2>/dev/null; then fail "files"; else pass "files, too"; fi
fi
rm -rf "$RUN_DIR/state/a"
mkdir -m 0770 "$RUN_DIR/state/a"
chgrp "$group" "$RUN_DIR/state/a"
manage --at-once --watchdog 30
wait_for "it starts with the rights of the unit" 20 at_least .said.READY 1 && pass "it starts with the rights of the unit"
joined "$NS_A" 10.99.0.2
remembers() { [ -s "$RUN_DIR/state/a/a.peers" ]; }
wait_for "it remembers where the peer was" 10 remembers && pass "it remembers where the peer was"
reloads "reload with those rights" ctl a reload
kill -KILL "$(worker)"
wait_for "the next one starts" 20 at_least .started 2
joined "$NS_A" 10.99.0.2
check "and reads what the first one wrote" sh -c "! grep -E 'remembered|E-STATE' '$RUN_DIR/log/managed.log'"
end_pid "$MANAGER" TERM 20

# What takes most: rules, a packet filter, another program. The log would say what the unit forbids.
cp "$RUN_DIR/a.yaml" "$RUN_DIR/a.good"
native a 1 "listen: ['192.0.2.1:29900']" 'full_tunnel: {mode: kill_switch}' "hooks: {up: [/bin/sh, -c, 'echo a hook of \$(id -un)']}" \
	"peers: {b: {public_key: $(native_key b), endpoints: ['192.0.2.2:29900'], allowed_ips: [0.0.0.0/0]}}"
chmod 600 "$RUN_DIR/a.yaml"
# On a host that is strict about where packets come in: /proc/sys is not there for the daemon, and it must do without.
in_ns "$NS_A" sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.wan0.rp_filter=1
: >"$RUN_DIR/log/managed.log"
manage --at-once --watchdog 30
wait_for "a full tunnel starts with the rights of the unit" 20 at_least .said.READY 1 && pass "a full tunnel starts with the rights of the unit"
joined "$NS_A" 10.99.0.2
wait_for "so does a hook" 10 grep -q 'a hook of root' "$RUN_DIR/log/managed.log" && pass "so does a hook"
expect "it has told the strict device to look at marks" "$(in_ns "$NS_A" sysctl -n net.ipv4.conf.wan0.src_valid_mark)" == 1
expect "and no answer was dropped for where it came in" "$(in_ns "$NS_A" nstat -asz TcpExtIPReversePathFilter | awk '/ReversePath/ { print $2 }')" == 0
check "its kill switch stands" [ -n "$(in_ns "$NS_A" nft list tables)" ]
check "down" ctl a down -q
check "lifts it" [ -z "$(in_ns "$NS_A" nft list tables)" ]
expect "and the strict device is as before" "$(in_ns "$NS_A" sysctl -n net.ipv4.conf.wan0.src_valid_mark)" == 0
in_ns "$NS_A" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0
end_pid "$MANAGER" TERM 20
check "nothing was refused" sh -c "! grep -iE ' error |not permitted|E-[A-Z]*-[0-9]|read-only' '$RUN_DIR/log/managed.log'"
cp "$RUN_DIR/a.good" "$RUN_DIR/a.yaml"

# ---- what drop-ins grant besides ----
granted() { # FILE...: its capabilities, as setpriv wants them
	sed -n 's/^CapabilityBoundingSet=//p' "$@" | tr ' ' '\n' | sed 's/^CAP_/+/' | tr '[:upper:]\n' '[:lower:],' | sed 's/,$//'
}
rights() { UNDER=(setpriv --regid "$group" --clear-groups --inh-caps=-all "--bounding-set=-all,$(granted "$unit" "$@")" --no-new-privs); }
netns_new INNER inner
sed -i "s|{name: kcp0, |&netns: $INNER, |" "$RUN_DIR/a.yaml"
rights
manage --at-once --watchdog 30
wait_for "the unit alone enters no namespace" 20 grep -q E-NETNS-1 "$RUN_DIR/log/managed.log" && pass "the unit alone enters no namespace"
end_pid "$MANAGER" TERM 20
rights "$ROOT/configs/systemd/with-netns.conf"
manage --at-once --watchdog 30
wait_for "with its drop-in it does" 20 at_least .said.READY 1 && pass "with its drop-in it does"
joined "$INNER" 10.99.0.2
end_pid "$MANAGER" TERM 20
cp "$RUN_DIR/a.good" "$RUN_DIR/a.yaml"
echo "hooks: {up: [/bin/sh, -c, \"awk '/^CapEff/ { print \$2 }' /proc/self/status >$RUN_DIR/caps.new && mv $RUN_DIR/caps.new $RUN_DIR/caps\"]}" >>"$RUN_DIR/a.yaml"
hook_caps() { # FILE...: those that a hook has
	rm -f "$RUN_DIR/caps"
	rights "$@"
	manage --at-once --watchdog 30
	wait_for "the hook runs" 20 test -s "$RUN_DIR/caps"
	end_pid "$MANAGER" TERM 20
	HOOK_CAPS=$((16#$(cat "$RUN_DIR/caps")))
}
hook_caps
expect "a hook has the unit's capabilities: CAP_NET_ADMIN" $((HOOK_CAPS >> 12 & 1)) == 1
expect "and no others: CAP_NET_RAW" $((HOOK_CAPS >> 13 & 1)) == 0
hook_caps "$ROOT/configs/systemd/with-hooks.conf"
expect "with its drop-in: CAP_NET_RAW" $((HOOK_CAPS >> 13 & 1)) == 1
cp "$RUN_DIR/a.good" "$RUN_DIR/a.yaml"
UNDER=()

# ---- what is not meant for it, or is no such socket ----
odd() { # TEXT STATUS REGEX ENVIRONMENT COMMAND...
	timeout 10 nsenter "--net=/run/netns/$NS_A" -- bash -c "exec 3</dev/null; $4 exec '$BIN/vpnd' -c '$RUN_DIR/a.yaml' --control '$SOCKET'" \
		>"$RUN_DIR/said" 2>&1 </dev/null
	expect "$1: exit status" $? == "$2"
	check "$1: it says why" grep -qE "$3" "$RUN_DIR/said" || cat "$RUN_DIR/said"
}
# shellcheck disable=SC2016
odd "a file in place of the socket" 1 'E-VPND-5.*Unix stream socket' 'LISTEN_FDS=1 LISTEN_PID=$$'
# shellcheck disable=SC2016
odd "two sockets" 1 'E-VPND-5.*2 sockets' 'LISTEN_FDS=2 LISTEN_PID=$$'
VPND_UNDER=(env LISTEN_FDS=1 LISTEN_PID=1)
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" 3</dev/null && pass "variables for somebody else do not matter"
VPND_UNDER=()
check "it has made a socket of its own" asked
check "it ends in order" vpnd_stop a
check "and removes it" [ ! -e "$SOCKET" ]
