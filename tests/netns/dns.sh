#!/bin/bash
# timeout: 120
#
# Who is told the resolvers of the tunnel, what, and that it is taken back: systemd-resolved over D-Bus, else resolvconf.
# Each daemon runs in a mount and process namespace of its own, where it finds a bus and a resolvconf of this test, and
# where the network of the test is that of the first process.
. "$(dirname "$0")/lib_sites.sh"

netns_new NS site
b_key=$(native_key b)
write_a() { native a 1 "peers: {b: {public_key: $b_key, endpoints: [\"192.0.2.9:29900\"], allowed_ips: [${ALLOWED:-10.77.0.0/16}]}}" "$@"; }
mkdir -p "$RUN_DIR"/{sbin,run,etc}
cat >"$RUN_DIR/sbin/resolvconf" <<EOF
#!/bin/sh
echo "\$@ <\$(tr '\n' '|')>" >>$RUN_DIR/told
EOF
chmod 755 "$RUN_DIR/sbin/resolvconf"
cp /etc/resolv.conf "$RUN_DIR/resolv.before"

# The folder of /sbin may not take a new file: an overlay is laid over it for the test alone.
mkdir -p "$RUN_DIR/upper" "$RUN_DIR/work"
VPND_UNDER=(unshare --mount --pid --fork --mount-proc --kill-child bash "$RUN_DIR/with_sbin.sh")
cat >"$RUN_DIR/with_sbin.sh" <<EOF
if [ -n "\$WITH_RESOLVCONF" ] && [ ! -e /usr/sbin/resolvconf ]; then
	mount -t tmpfs tmpfs $RUN_DIR/upper && cp -a /usr/sbin/. $RUN_DIR/upper/ 2>/dev/null
	cp $RUN_DIR/sbin/resolvconf $RUN_DIR/upper/resolvconf
	mount --bind $RUN_DIR/upper /usr/sbin || exit 1
fi
mount --bind $RUN_DIR/run /run || exit 1
exec bash $RUN_DIR/first.sh "\$@"
EOF
# The first process: it stays until the daemon's helpers have ended, as a host would.
cat >"$RUN_DIR/first.sh" <<'EOF'
"$@" &
wait $!
status=$?
for _ in $(seq 150); do
	pgrep vpnd-helper >/dev/null || pgrep vpnd-runner >/dev/null || break
	sleep 0.1
done
exit $status
EOF
start() { vpnd_start "$NS" "$RUN_DIR/a.yaml" || exit 1; }
first_pid() { pgrep -P "$(vpnd_pid a)"; }
# stop SIGNAL SECONDS: to the daemon itself, which is below what was spawned; its exit status
stop() {
	local outer pid
	outer=$(vpnd_pid a)
	pid=$outer
	unset "VPND_PID[a]"
	while [ "$(cat "/proc/$pid/comm")" != vpnd ]; do pid=$(pgrep -P "$pid" | head -n 1); done
	kill "-$1" "$pid"
	reap "$outer" "$2"
}

bus() { # NAME [absent]
	mkdir -p "$RUN_DIR/run/dbus"
	rm -f "$RUN_DIR/run/dbus/system_bus_socket"
	spawn BUS - "$1" python3 "$ROOT/tests/netns/tools/resolved_bus.py" "$RUN_DIR/run/dbus/system_bus_socket" "${@:2}"
	wait_for "the bus listens" 10 grep -q ready "$RUN_DIR/log/$1.log"
}
said() { grep -v ready "$RUN_DIR/log/$1.log"; }

# ---- systemd-resolved ----
bus bus
write_a 'dns: {servers: [10.99.0.2, "[fd99::53]:5353"], search: [corp.example.net, ~lab.example]}'
start
ifindex=$(in_ns "$NS" cat /sys/class/net/kcp0/ifindex 2>/dev/null || in_ns "$NS" ip -o link show kcp0 | cut -d: -f1)
check "servers, with their ports" grep -qF "SetLinkDNSEx $ifindex [(2, [10, 99, 0, 2], 0, ''), (10, [253, 153, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 83], 5353, '')]" "$RUN_DIR/log/bus.log"
check "domains: one to search, one to ask for only" grep -qF "SetLinkDomains $ifindex [('corp.example.net', 0), ('lab.example', 1)]" "$RUN_DIR/log/bus.log"
check "other names stay with the others" grep -qF "SetLinkDefaultRoute $ifindex 0" "$RUN_DIR/log/bus.log"
write_a 'dns: {servers: [10.99.0.2]}'
check "reload without domains" ctl a reload
check "plain servers" grep -qF "SetLinkDNS $ifindex [(2, [10, 99, 0, 2])]" "$RUN_DIR/log/bus.log"
check "all names go there" grep -qF "SetLinkDomains $ifindex [('.', 1)]" "$RUN_DIR/log/bus.log"
check "by default, too" grep -qF "SetLinkDefaultRoute $ifindex 1" "$RUN_DIR/log/bus.log"
expect "nothing is reverted while it is up" "$(grep -c Revert "$RUN_DIR/log/bus.log")" == 0
check "down" ctl a down
check "takes it back" grep -qF "RevertLink $ifindex" "$RUN_DIR/log/bus.log"
check "up" ctl a up
expect "and tells it again" "$(grep -cF "SetLinkDNS $ifindex" "$RUN_DIR/log/bus.log")" == 2
write_a
check "reload without dns" ctl a reload
expect "takes it back, too" "$(grep -c RevertLink "$RUN_DIR/log/bus.log")" == 2
check "it ends in order" stop TERM 15
end_pid "$BUS" TERM 5

# ---- the bus is there, resolved is not: resolvconf ----
export WITH_RESOLVCONF=1
bus none absent
for mode in TERM KILL; do
	: >"$RUN_DIR/told"
	ALLOWED='0.0.0.0/0' write_a 'dns: {servers: [10.99.0.2, "fd99::53"], search: [example.net]}' 'full_tunnel: {mode: route}'
	start
	has_told() { grep -q -- '-a kcp0' "$RUN_DIR/told"; }
	wait_for "resolvconf is told" 5 has_told
	check "all that it needs" grep -qF -- '-a kcp0 -m 0 -x <nameserver 10.99.0.2|nameserver fd99::53|search example.net|>' "$RUN_DIR/told"
	if [ $mode = TERM ]; then
		check "it ends in order" stop TERM 15
	else
		stop KILL 15
	fi
	taken_back() { grep -q -- '-d kcp0 -f' "$RUN_DIR/told"; }
	wait_for "after SIG$mode it is taken back" 5 taken_back && pass "after SIG$mode it is taken back"
done
: >"$RUN_DIR/told"
write_a 'dns: {servers: [10.99.0.2], search: [example.net]}'
start
wait_for "resolvconf is told" 5 has_told
check "some names only" grep -qF -- '-a kcp0 -p <nameserver' "$RUN_DIR/told"
# all at once, as a service manager that kills the unit
outer=$(vpnd_pid a)
kill -KILL "$(first_pid)"
unset "VPND_PID[a]"
reap "$outer" 5
check "after a crash of everything nothing was taken back" [ "$(grep -c -- '-d kcp0' "$RUN_DIR/told")" = 0 ]
write_a
start
wait_for "the next start does it" 5 taken_back && pass "the next start does it"
expect "once" "$(grep -c -- '-d kcp0' "$RUN_DIR/told")" == 1
check "it ends in order" stop TERM 15
check "and no mark is left" [ -z "$(find "$RUN_DIR/run" -name '*.resolvconf')" ]
end_pid "$BUS" TERM 5

# ---- nobody is there: a warning, and the tunnel goes on ----
rm -f "$RUN_DIR/run/dbus/system_bus_socket"
unset WITH_RESOLVCONF
if ! command -v resolvconf >/dev/null; then
	write_a 'dns: {servers: [10.99.0.2]}'
	start
	check "that nobody could be told is said" grep -q 'neither systemd-resolved nor resolvconf' "$(vpnd_log a)"
	check "and stands in the status" grep -q 'resolvers' <<<"$(status a '.warnings[]')"
	check "it ends in order" stop TERM 15
fi

# ---- in a network that is not the host's, its services are not told about a link of theirs with the same number ----
bus foreign
write_a 'dns: {servers: [10.99.0.2]}'
# shellcheck disable=SC2016
VPND_UNDER=(unshare --mount sh -c 'mount --bind "$0/run" /run && exec "$@"' "$RUN_DIR")
start
expect "calls of a daemon in a namespace of its own" "$(said foreign | wc -l)" == 0
check "it ends in order" stop TERM 15
check "resolv.conf is as it was" cmp /etc/resolv.conf "$RUN_DIR/resolv.before"
