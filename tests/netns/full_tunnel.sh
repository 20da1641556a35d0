#!/bin/bash
# timeout: 150
# takes: 56 s, 5 s of CPU
#
# Full tunnel: what goes where, and what leaves the outer link. A is a laptop, B its exit; behind B stands "the internet",
# and on A's link a resolver of the LAN, which is asked by nobody while the tunnel is on. lib_tunnel.sh draws it.
. "$(dirname "$0")/lib_tunnel.sh"

# ---- route ----
write_a route
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1
all_answer "IPv4 by the tunnel" "$NS_A" $INTERNET4 5 -i 0.05
all_answer "IPv6 by the tunnel" "$NS_A" $INTERNET6 5 -i 0.05
check "IPv4 goes into the tunnel" by_tunnel $INTERNET4
check "IPv6, too" by_tunnel $INTERNET6
check "the LAN stays outside" by_wan $OUTER_B4
check "so does IPv6's" by_wan $OUTER_B6
mark=$(in_ns "$NS_A" ip rule | sed -nE 's/.*fwmark (0x[0-9a-f]+) goto.*/\1/p')
check "what is marked goes as before" by_wan $INTERNET4 mark "$mark"
for family in -4 -6; do
	in_ns "$NS_A" ip $family rule | awk '/proto 201/ { print $1 }' >"$RUN_DIR/prefs"
	expect "rules of ${family#-}, in front of the host's" "$(sort -n "$RUN_DIR/prefs" | tail -n 1 | tr -d :)" '<' 32766
done
ping_stats "$NS_A" $OUTER_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3

# ---- somebody tidies up: it is put back, and said ----
in_ns "$NS_A" ip rule del pref "$(in_ns "$NS_A" ip rule | awk '/lookup main suppress/ { print $1 + 0 }')"
in_ns "$NS_A" ip route flush table "$(in_ns "$NS_A" ip rule | awk '/proto 201/ && /lookup [0-9]/ { print $5; exit }')"
check "now it is gone" by_wan $INTERNET4
both_back() { by_tunnel $INTERNET4 && in_ns "$NS_A" ip rule | grep -q 'lookup main suppress'; }
wait_for "rule and route are put back" 5 both_back && pass "rule and route are put back"
check "the log says so" grep -q 'put back' "$(vpnd_log a)"
check "of the rules, too" grep -q 'put right' "$(vpnd_log a)"

# ---- down, up, reload ----
check "down" ctl a down
check "after down all goes as before" by_wan $INTERNET4
check "no rule is left" no_rules
check "up" ctl a up
joined "$NS_A" $INTERNET4
EXEMPT='lan, 203.0.113.0/24' write_a route
check "reload with an exemption" ctl a reload
check "it is taken" by_wan $INTERNET4
check "the rest stays" by_tunnel 198.51.100.1
EXEMPT='203.0.113.0/24' write_a route # LAN is not trusted
check "reload without the LAN" ctl a reload
check "the LAN goes into the tunnel, too" by_tunnel $OUTER_B4
check "the tunnel stays" answers "$NS_A" 10.99.0.2
ALLOWED=0.0.0.0/0 write_a route
check "reload without a default route of IPv6" ctl a reload
check "IPv6 is not let out beside the tunnel" by_tunnel $INTERNET6
refused() { in_ns "$NS_A" ping -n -c 1 -W 2 $INTERNET6 2>&1 | grep -qi 'unreachable: no route'; }
check "and programs hear so at once" refused
joined "$NS_A" 10.99.0.2
check "it ends in order" vpnd_stop a
restored "SIGTERM"

write_a route
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
vpnd_kill a
wait_for "after a crash the helper removes the rules" 5 no_rules && pass "after a crash the helper removes the rules"
restored "SIGKILL of the worker"
ALLOWED=0.0.0.0/0 write_a route
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
kill_both
check "a crash of both leaves rules, which lead nowhere" by_wan $INTERNET4
check "also for the family that was not the tunnel's" by_wan $INTERNET6
printf '%s\n' 'version: 1' "identity: {private_key_file: a.key}" 'interface: {name: kcp0}' >"$RUN_DIR/a.yaml"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
check "the next start removes them, whatever it is for" no_rules
check "it ends in order" vpnd_stop a
restored "SIGKILL and restart"

# ---- kill switch ----
write_a kill_switch 'dns: {servers: [10.99.0.2]}'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 || exit 1
all_answer "IPv4 by the tunnel" "$NS_A" $INTERNET4 5 -i 0.05
all_answer "IPv6 by the tunnel" "$NS_A" $INTERNET6 5 -i 0.05
ping_stats "$NS_A" $LAN_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3
watched "while the tunnel is up"
vpnd_kill a
watched "the worker was killed"
ping_stats "$NS_A" $LAN_B4 3 -i 0.1 && expect "the LAN still answers" "$PING_RECEIVED" == 3
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
kill_both
watched "both were killed"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
check "it ends in order" vpnd_stop a
watched "it was stopped"
record leak "$NS_A" wan0 'ip or ip6'
for _ in 1 2 3 4 5 6 7 8 9 10; do try_all; done & # while it starts and stops
tries=$!
for _ in 1 2; do
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	joined "$NS_A" $INTERNET4
	vpnd_stop a
done
wait $tries
record_stop leak
leaks leak >"$RUN_DIR/leaked"
check "over starts and stops nothing left" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4
check "down is the order that lifts it" ctl a down
check "then all goes as before" answers "$NS_A" $INTERNET4
check "it ends in order" vpnd_stop a
restored "down, then SIGTERM"

# ---- the endpoint is a name, and its server stands outside ----
cat >"$RUN_DIR/server.py" <<'PYTHON'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.1", 53))
print("listens", flush=True)
while True:
    data, peer = s.recvfrom(512)
    end = data.index(0, 12) + 5
    kind, asked = data[end - 3], data[12:end]
    if kind == 1:
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("192.0.2.2")
        s.sendto(data[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + asked + record, peer)
    else:
        s.sendto(data[:2] + b"\x81\x80\0\x01\0\0\0\0\0\0" + asked, peer)
PYTHON
spawn server "$NS_B" server python3 "$RUN_DIR/server.py"
wait_for "the server listens" 10 grep -q listens "$RUN_DIR/log/server.log"
printf 'nameserver 203.0.113.1\n' >"$RUN_DIR/resolv.conf"
rm -rf "$RUN_DIR/state/a" # or it would remember where the exit was, and need no name
ENDPOINT=exit.example.net write_a kill_switch 'dns: {servers: [10.99.0.2]}'
VPND_UNDER=(unshare --mount sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$RUN_DIR/resolv.conf")
record leak "$NS_A" wan0 'ip or ip6'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 && pass "an endpoint by name is found, though all else is held"
vpnd_kill a
rm -rf "$RUN_DIR/state/a"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" $INTERNET4 && pass "also after a crash, with the kill switch in force"
record_stop leak
leaks leak | grep -v 'exit\.example\.net' >"$RUN_DIR/leaked"
check "no other name was asked for outside" [ ! -s "$RUN_DIR/leaked" ] || head -n 5 "$RUN_DIR/leaked"
check "down" ctl a down
check "it ends in order" vpnd_stop a
restored "after all that"
