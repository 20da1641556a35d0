#!/bin/bash
# timeout: 150
# takes: 18 s, 5 s of CPU
#
# Who handles packets has no rights: worker and helper as the kernel sees them, what works all the same, and what is left
# when either is killed.
#
#     site A                                                                       site B
#     10.99.0.1 kcp0 - vpnd (worker, helper) - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      dials                                                     listens; keys and file are root's alone
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
"$BIN/kcpctl" key gen "$RUN_DIR/a.key" >"$RUN_DIR/a.pub" || exit 1
"$BIN/kcpctl" key gen "$RUN_DIR/b.key" >"$RUN_DIR/b.pub" || exit 1
write_a() { # ADDRESSES, ALLOWED, MORE...
	local addresses=$1 allowed=$2
	shift 2
	printf '%s\n' 'version: 1' "identity: {private_key_file: $RUN_DIR/a.key}" \
		"interface: {name: kcp0, addresses: [$addresses]}" \
		"peers: {b: {public_key: $(cat "$RUN_DIR/b.pub"), endpoints: [\"localhost:29999\", \"$OUTER_B4:29900\"]," \
		"  allowed_ips: [$allowed]}}" "$@" >"$RUN_DIR/a.yaml"
	chmod 600 "$RUN_DIR/a.yaml"
}
write_b() { # PORT
	printf '%s\n' 'version: 1' "identity: {private_key_file: $RUN_DIR/b.key}" \
		'interface: {name: kcp0, addresses: [10.99.0.2/24]}' "listen: [\"0.0.0.0:$1\"]" \
		"peers: {a: {public_key: $(cat "$RUN_DIR/a.pub"), allowed_ips: [10.99.0.1]}}" >"$RUN_DIR/b.yaml"
	chmod 600 "$RUN_DIR/b.yaml"
}
write_a 10.99.0.1/24 '10.99.0.2, 10.77.0.0/16'
write_b 29900
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

# A stopped process outlives everything, even its worker: whatever happens, it goes on.
stopped=''
hang() { # PROCESS
	stopped=$1
	kill -STOP "$1"
}
go_on() {
	[ -z "$stopped" ] || kill -CONT "$stopped" 2>/dev/null
	stopped=''
}
finish() {
	local status=$?
	go_on
	(exit $status)
	cleanup
}
trap finish EXIT

helper_of() { pgrep -P "$(vpnd_pid "$1")"; }
field() { awk -v key="$2:" '$1 == key { $1 = ""; print substr($0, 2) }' "/proc/$1/status"; }
is() { # TEXT PROCESS KEY VALUE
	local value
	value=$(field "$2" "$3")
	check "$1: $3 is $4" [ "$value" = "$4" ] || echo "      it is $value"
}

# ---- the worker, every thread of it (a name was looked up, so there are two) ----
user=vpnd
id vpnd >/dev/null 2>&1 || user=nobody
uid=$(id -u $user) gid=$(id -g $user)
worker=$(vpnd_pid a)
threads=("/proc/$worker/task"/*)
expect "threads of the worker" ${#threads[@]} '>=' 2
for thread in "${threads[@]}"; do
	task=$worker/task/${thread##*/}
	name="$(field "$task" Name)"
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		is "thread $name" "$task" $set 0000000000000000
	done
	is "thread $name" "$task" NoNewPrivs 1
	is "thread $name" "$task" Seccomp 2
	is "thread $name" "$task" Uid "$uid $uid $uid $uid"
	is "thread $name" "$task" Gid "$gid $gid $gid $gid"
	is "thread $name" "$task" Groups ''
done
check "core dumps are off" grep -qE '^Max core file size +0 +0 ' "/proc/$worker/limits"
# What may not be dumped belongs to root in /proc, whoever runs it.
check "nobody may look into the worker's memory" [ "$(stat -c %u "/proc/$worker/mem")" = 0 ]
as_user() { setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"; }
check "not even the same user" as_user sh -c "! cat /proc/$worker/environ >/dev/null 2>&1"
if [ $user = nobody ]; then
	check "a standing warning says that the user is borrowed" \
		grep -q 'no user vpnd' <<<"$(status a '.warnings[]')"
fi

# ---- the helper ----
helper=$(helper_of a)
is "helper" "$helper" CapPrm 0000000000001000 # CAP_NET_ADMIN
is "helper" "$helper" CapEff 0000000000001000
for set in CapInh CapBnd CapAmb; do is "helper" "$helper" $set 0000000000000000; done
is "helper" "$helper" NoNewPrivs 1
is "helper" "$helper" Seccomp 2
is "helper" "$helper" Name vpnd-helper
inodes() { find "/proc/$1/fd" -type l -printf '%l\n' | sed -n 's/^socket:\[\(.*\)\]$/\1/p' | sort; }
udp_inodes() { in_ns "$NS_A" cat /proc/net/udp /proc/net/udp6 | awk '$10 ~ /^[0-9]+$/ { print $10 }' | sort; }
udp_of() { comm -12 <(inodes "$1") <(udp_inodes) | wc -l; }
expect "the worker has UDP sockets" "$(udp_of "$worker")" '>' 0
expect "the helper has none" "$(udp_of "$helper")" == 0
check "and not the device" [ -z "$(find "/proc/$helper/fd" -lname '/dev/net/tun')" ]

# ---- everything goes on working ----
all_answer "the tunnel" "$NS_A" 10.99.0.2 20 -i 0.01
check "down" ctl a down
check "down takes address and route" [ -z "$(in_ns "$NS_A" ip -o -4 addr show kcp0)$(in_ns "$NS_A" ip route show 10.77.0.0/16)" ]
check "up" ctl a up
check "up brings the route" [ -n "$(in_ns "$NS_A" ip route show 10.77.0.0/16 dev kcp0)" ]
joined "$NS_A" 10.99.0.2

write_a '10.99.0.1/24, 10.98.0.1/24' '10.99.0.2, 10.78.0.0/16' 'log: {level: debug}'
check "the worker's user may not read the file" as_user sh -c "! cat $RUN_DIR/a.yaml 2>/dev/null"
check "reload, the file and the key being root's alone" ctl a reload
check "the new address is there" [ -n "$(in_ns "$NS_A" ip -o addr show kcp0 to 10.98.0.1)" ]
check "the new route, too" [ -n "$(in_ns "$NS_A" ip route show 10.78.0.0/16 dev kcp0)" ]
check "the old route is gone" [ -z "$(in_ns "$NS_A" ip route show 10.77.0.0/16)" ]
all_answer "the session stayed" "$NS_A" 10.99.0.2 5 -i 0.01
write_a '10.99.0.1/24' '10.99.0.2, 10.79.0.0/16'
kill -HUP "$worker"
new_route() { [ -n "$(in_ns "$NS_A" ip route show 10.79.0.0/16 dev kcp0)" ]; }
wait_for "SIGHUP reloads" 5 new_route && pass "SIGHUP reloads"
chmod 644 "$RUN_DIR/a.key"
ctl a reload >"$RUN_DIR/said" 2>&1
expect "a key that others can read is refused" $? == 5
check "and it is said how to mend it" grep -q "chmod" "$RUN_DIR/said"
chmod 600 "$RUN_DIR/a.key"

# ---- a helper that hangs: packets flow on, orders say what they could not do, and that is done when it is back ----
host_has() { in_ns "$NS_A" ip -o -4 addr show kcp0 && in_ns "$NS_A" ip -4 route show dev kcp0; }
has_nothing() { [ -z "$(host_has)" ]; }
says_stuck() { status a '.warnings[]' | grep -q 'helper process is stuck'; }
unfinished() { # EXIT_STATUS
	[ "$1" = 1 ] && grep -q 'E-PRIV-5' "$RUN_DIR/said"
}
hang "$helper"
pings_start hang "$NS_A" 10.99.0.2
spawn pid - hung-reload "$BIN/kcpctl" --control "$RUN_DIR/control/a/control.sock" --timeout 60s reload
check "others are served while it reads" ctl a --timeout 1s status
wait_for "the status says that the helper is stuck" 8 says_stuck && pass "the status says that the helper is stuck"
reap "$pid" 30
expect "reload with a helper that hangs" $? == 1
check "it says why" grep -qE 'E-PRIV-5.*helper' "$RUN_DIR/log/hung-reload.log"
pings_stop hang
expect "pings sent meanwhile" "$PINGS_SENT" '>' 500
expect "pings lost meanwhile" "$PINGS_LOST" == 0
expect "longest gap, s" "$PINGS_GAP" '<' 1
SECONDS=0
ctl a down b >"$RUN_DIR/said" 2>&1
check "down PEER says that its routes are still there" unfinished $?
check "and they are" new_route
ctl a up b >"$RUN_DIR/said" 2>&1
check "so does up PEER" unfinished $?
joined "$NS_A" 10.99.0.2
all_answer "with a helper that hangs" "$NS_A" 10.99.0.2 20 -i 0.01
for again in '' ', again'; do
	ctl a down >"$RUN_DIR/said" 2>&1
	check "down says that it is not done$again" unfinished $?
done
expect "seconds that these orders took" $SECONDS '<' 10 # nothing waits for it any more
check "address and route are on the host" new_route
check "the status says so" grep -q 'not as they should be' <<<"$(status a '.warnings[]')"
check "the log has it, once" [ "$(grep -c 'stuck: packets flow on' "$(vpnd_log a)")" = 1 ]
go_on
helper_is_back() { grep -q 'the helper process answers again' "$(vpnd_log a)"; }
wait_for "the log says that it is back" 5 helper_is_back && pass "the log says that it is back"
wait_for "what it had missed is done: nothing is left on the host" 5 has_nothing &&
	pass "what it had missed is done: nothing is left on the host"
check "nothing is amiss any more" [ -z "$(status a '.warnings[]' | grep -E 'stuck|not as they should')" ]
check "down has nothing to do" ctl a down
check "up" ctl a up
check "the route is there" new_route
joined "$NS_A" 10.99.0.2

# ---- the same in the middle of an order: that one waits, and is done late ----
hang "$helper"
SECONDS=0
ctl a --timeout 60s down >"$RUN_DIR/said" 2>&1
check "down says that it is not done" unfinished $?
expect "seconds that it took" $SECONDS '<' 9 # 3 s, once
go_on
wait_for "nothing is left on the host" 5 has_nothing && pass "nothing is left on the host"
check "up" ctl a up
joined "$NS_A" 10.99.0.2

# ---- what somebody took away comes back by a reload ----
in_ns "$NS_A" ip addr del 10.99.0.1/24 dev kcp0
check "reload after an address was deleted" ctl a reload
check "it is there" [ -n "$(in_ns "$NS_A" ip -o addr show kcp0 to 10.99.0.1)" ]
check "and the route that went with it" new_route

# ---- what a running daemon cannot take over is told ----
write_a '10.99.0.1/24' '10.99.0.2, 10.79.0.0/16' 'control: {group: daemon}'
ctl a reload >"$RUN_DIR/said" 2>&1
expect "reload with another control.group" $? == 0
check "it says that this takes a restart" grep -q 'control.group takes effect at the next restart' "$RUN_DIR/said"
in_ns "$NS_A" ip route add 10.80.0.0/16 dev lo metric 50
write_a '10.99.0.1/24' '10.99.0.2, 10.79.0.0/16, 10.80.0.0/16' 'control: {group: daemon}'
ctl a reload >"$RUN_DIR/said" 2>&1
expect "reload with a route that is somebody else's" $? == 1
check "it says which" grep -q 'E-NET-9.*10\.80\.0\.0/16.*lo' "$RUN_DIR/said"
check "and nothing changed" [ -z "$(in_ns "$NS_A" ip route show 10.80.0.0/16 dev kcp0)" ]
in_ns "$NS_A" ip route del 10.80.0.0/16 dev lo metric 50

# ---- a helper that is killed: packets flow on, orders fail with a reason ----
kill -KILL "$helper"
helper_is_missed() { status a '.warnings[]' | grep -q 'helper process is gone'; }
wait_for "the status says that the helper is gone" 5 helper_is_missed && pass "the status says that the helper is gone"
all_answer "without the helper" "$NS_A" 10.99.0.2 20 -i 0.01
ctl a reload >"$RUN_DIR/said" 2>&1
expect "reload without the helper" $? == 1
check "it says why, and what to do" grep -qE 'E-PRIV-5.*helper' "$RUN_DIR/said"
check "the log has it, once" [ "$(grep -c 'the helper process is gone' "$(vpnd_log a)")" = 1 ]
ctl a down b >"$RUN_DIR/said" 2>&1
check "down PEER says that its routes stay" unfinished $?
ctl a down >"$RUN_DIR/said" 2>&1
check "so does down" unfinished $?
check "and what to do" grep -q 'restart vpnd' "$RUN_DIR/said"
check "no zombie is left" [ -z "$(pgrep -P "$worker")" ]
check "it ends in order all the same" vpnd_stop a
check "and its device with it" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]
rm -r "$RUN_DIR/control/a" # the one thing that takes the helper

# ---- a helper that hangs at the end: nobody waits for it ----
lines=$(($(wc -l <"$(vpnd_log a)") + 1))
# The request lies before the helper, which does not take it.
client_waits() { [ -n "$(in_ns "$NS_A" ss -Hx | awk '$1 == "u_seq" && $3 > 0')" ]; }
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
helper=$(helper_of a)
hang "$helper"
spawn pid - end-reload "$BIN/kcpctl" --control "$RUN_DIR/control/a/control.sock" --timeout 60s reload # nobody waits for that
wait_for "a reload is under way" 5 client_waits && pass "a reload is under way"
SECONDS=0
check "it ends in order" vpnd_stop a
reap "$pid" 5
expect "seconds that took" $SECONDS '<' 5
check "device, address and route are gone" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]
expect "lines about it in the log" "$(sed -n "$lines,\$p" "$(vpnd_log a)" | grep -cE 'E-PRIV-5|is stuck')" '<=' 2
go_on
wait_for "the helper removes the control socket after all" 5 test ! -e "$RUN_DIR/control/a" &&
	pass "the helper removes the control socket after all"

# ---- a worker that is killed: the helper cleans up and ends ----
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
helper=$(helper_of a)
joined "$NS_A" 10.99.0.2
vpnd_kill a
wait_for "the helper removes the control socket" 5 test ! -e "$RUN_DIR/control/a" &&
	pass "the helper removes the control socket"
gone() { ! kill -0 "$1" 2>/dev/null || [ "$(field "$1" State)" = 'Z (zombie)' ]; }
wait_for "the helper ends" 5 gone "$helper" && pass "the helper ends"
check "device, address and route are gone" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]

# ---- SIGTERM ----
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
helper=$(helper_of a)
kill -TERM "$helper" # as a service manager does that signals all processes
check "a signal for the daemon does not end the helper first" ctl a status >/dev/null
check "SIGTERM ends it in order" vpnd_stop a
check "with the helper" gone "$helper"
check "socket and folder are gone" [ ! -e "$RUN_DIR/control/a" ]

# ---- a port below 1024: the helper keeps that right, and opens the port again for the worker ----
check "B ends in order" vpnd_stop b
write_b 443
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
is "helper of a low port" "$(helper_of b)" CapPrm 0000000000001400 # and CAP_NET_BIND_SERVICE
"$BIN/kcpctl" key psk "$RUN_DIR/net.key" >/dev/null || exit 1
sed -i "s|^identity: {|&network_key_file: $RUN_DIR/net.key, |" "$RUN_DIR/b.yaml"
check "a reload that opens the port anew" ctl b reload
check "it listens there" [ -n "$(in_ns "$NS_B" ss -Hluan 'sport = :443')" ]
sed -i 's/0\.0\.0\.0:443/192.0.2.2:443/' "$RUN_DIR/b.yaml" # these two overlap: one must go first
check "a reload to an address of it" ctl b reload
check "it listens there, and there only" [ "$(in_ns "$NS_B" ss -Hluan 'sport = :443' | awk '{ print $4 }' | sort -u)" = 192.0.2.2:443 ]
spawn pid "$NS_B" taker python3 -c "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('192.0.2.2', 444))
time.sleep(60)"
taken() { [ -n "$(in_ns "$NS_B" ss -Hluan 'sport = :444')" ]; }
wait_for "somebody takes a low port" 10 taken
sed -i 's/192\.0\.2\.2:443/192.0.2.2:444/' "$RUN_DIR/b.yaml"
ctl b reload >"$RUN_DIR/said" 2>&1
expect "a low port that is in use" $? == 1
check "the reason is told" grep -qE 'E-UDP-1.*444' "$RUN_DIR/said"
check "it listens where it did" [ "$(in_ns "$NS_B" ss -Hluan 'sport = :443' | awk '{ print $4 }' | sort -u)" = 192.0.2.2:443 ]
end_pid "$pid" TERM 5
check "B ends in order" vpnd_stop b

# ---- a file that is somebody else's: as root without all rights, which containers are given ----
write_b 29900
chown 4242:4242 "$RUN_DIR/b.yaml" "$RUN_DIR/b.key"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
is "helper for somebody else's file" "$(helper_of b)" CapPrm 0000000000001004 # and CAP_DAC_READ_SEARCH
check "reload" ctl b reload
check "B ends in order" vpnd_stop b

# ---- too few rights to begin with ----
without() { # CAPABILITIES of setpriv
	in_ns "$NS_B" setpriv --bounding-set="$1" --inh-caps="$1" timeout 10 "$BIN/vpnd" -c "$RUN_DIR/b.yaml" \
		--control "$RUN_DIR/control/x/control.sock" >"$RUN_DIR/said" 2>&1
}
chown 0:0 "$RUN_DIR/b.yaml" "$RUN_DIR/b.key"
without -net_admin
expect "root without CAP_NET_ADMIN: exit status" $? == 4
check "it says why" grep -q 'E-PRIV-1.*CAP_NET_ADMIN' "$RUN_DIR/said"
without -setuid
expect "root that cannot leave root: exit status" $? == 4
check "it says why" grep -q 'E-PRIV-2' "$RUN_DIR/said"
check "nothing is left" [ ! -e "$RUN_DIR/control/x" ]

# ---- not root, but with CAP_NET_ADMIN: the user stays, the right goes ----
mkdir -m 0700 "$RUN_DIR/ambient"
cp "$RUN_DIR/b.yaml" "$RUN_DIR/b.key" "$RUN_DIR/ambient/"
cp "$BIN/vpnd" "$RUN_DIR/vpnd" # the tree itself may be out of reach
sed -i "s|$RUN_DIR/b.key|$RUN_DIR/ambient/b.key|; s/29900/29901/" "$RUN_DIR/ambient/b.yaml"
chown -R 4242:4242 "$RUN_DIR/ambient"
# The device of this machine may be root's alone: one that is not, seen by this process only.
mknod -m 666 "$RUN_DIR/tun" c 10 200 || exit 1
# shellcheck disable=SC2016
spawn pid "$NS_B" ambient unshare --mount sh -c 'mount --bind "$0" /dev/net/tun && exec "$@"' "$RUN_DIR/tun" setpriv --reuid=4242 --regid=4242 --clear-groups --inh-caps=+net_admin --ambient-caps=+net_admin \
	"$RUN_DIR/vpnd" -c "$RUN_DIR/ambient/b.yaml" --control "$RUN_DIR/ambient/c/control.sock" --state "$RUN_DIR/ambient/s"
it_listens() { [ -n "$(in_ns "$NS_B" ss -Hluan 'sport = :29901')" ] && [ -S "$RUN_DIR/ambient/c/control.sock" ]; }
wait_for "it runs as another user" 10 it_listens && pass "it runs as another user"
until [ "$(field "$pid" Seccomp)" = 2 ] || ! is_ours "$pid"; do sleep 0.05; done
for set in CapInh CapPrm CapEff CapAmb; do is "worker of another user" "$pid" $set 0000000000000000; done
is "worker of another user" "$pid" Uid '4242 4242 4242 4242'
is "worker of another user" "$pid" NoNewPrivs 1
is "helper of another user" "$(pgrep -P "$pid")" CapPrm 0000000000001000
kill -HUP "$pid"
end_pid "$pid" TERM 10
expect "it ends in order" $? == 0
check "nothing is left" [ ! -e "$RUN_DIR/ambient/c" ]
