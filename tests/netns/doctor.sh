#!/bin/bash
# timeout: 180
#
# What doctor finds: each fault is really made, found with its code, undone, and not found any more.
#
#     hub in $NS_A: 192.0.2.1 --- lab --- 192.0.2.2: b in $NS_B, dials           wan1, an interface beside it, in $NS_A
. "$(dirname "$0")/lib_sites.sh"

lab_start --rate 50M --queue 200000 --delay 5ms --seed 7
in_ns "$NS_A" ip tuntap add dev wan1 mode tap
in_ns "$NS_A" ip link set wan1 up
HUB=$RUN_DIR/hub.yaml
B_KEY=$(native_key b)
HUB_KEY=$(native_key hub)
hub() { native hub 1 'listen: ["192.0.2.1:29900"]' 'session: {dead_after: 4s}' "$@" \
	"peers: {b: {public_key: $B_KEY, endpoints: [\"192.0.2.2:29900\"], allowed_ips: [10.99.0.2, 10.72.0.0/16]}}"; }
hub

# doctor [COMMAND...]: runs it for the hub's file, as COMMAND would; its text in $RUN_DIR/said
doctor() {
	in_ns "$NS_A" "$@" "$BIN/kcpctl" --control "$RUN_DIR/control/hub/control.sock" doctor "$HUB" >"$RUN_DIR/said" 2>&1 </dev/null
	DOCTOR=$?
}
finds() { # TEXT LEVEL CODE REGEX [COMMAND...]
	local text=$1 level=$2 code=$3 regex=$4
	shift 4
	doctor "$@"
	grep -qE "^$level +$code +.*$regex" "$RUN_DIR/said" && pass "finds $text" || { fail "finds $text"; cat "$RUN_DIR/said"; }
	case $level in
	problem) expect "  its exit status" "$DOCTOR" == 1 ;;
	'('*) expect "  its exit status" "$DOCTOR" == "$(grep -q '^problem' "$RUN_DIR/said" && echo 1 || echo 0)" ;; # by what else there is
	*) expect "  its exit status" "$DOCTOR" == 0 ;;
	esac
	check "  it says what to do" [ "$(grep -cE '^ {19}[A-Za-z/]' "$RUN_DIR/said")" -ge 1 ]
	check "  the code's help is the same" grep -qF -- "$("$BIN/kcpctl" help "$code" | sed -n '2s/^  //p' | cut -c1-50)" "$RUN_DIR/said"
}
misses() { # CODE
	doctor
	if grep -qE "^[a-z]+ +$1 " "$RUN_DIR/said"; then fail "it still finds $1 when that is over"; cat "$RUN_DIR/said"; else pass "and not when that is over"; fi
}

# ---- nothing wrong ----
doctor
expect "a healthy host: exit status" "$DOCTOR" == 0
check "one warning: the daemon does not run" grep -qE '^0 problems, 1 warning, 0 not known' "$RUN_DIR/said"
cat "$RUN_DIR/said"

# ---- the machine ----
# shellcheck disable=SC2016
finds "a missing TUN device" problem E-DOC-1 '/dev/net/tun' unshare -m sh -c 'mount -t tmpfs none /dev/net && exec "$@"' sh
finds "a missing capability" problem E-DOC-2 'CAP_NET_ADMIN' setpriv --bounding-set=-net_admin --inh-caps=-net_admin
misses E-DOC-2
spawn holder "$NS_A" holder nc -u -l 192.0.2.1 29900
wait_for "nc holds the port" 5 sh -c "nsenter --net=/run/netns/$NS_A ss -Hluan 'sport = :29900' | grep -q ."
finds "a port that is taken, and by whom" problem E-DOC-4 'port 29900 is in use by nc'
end_pid "$holder" TERM 5
misses E-DOC-4
"${CC:-cc}" -shared -fPIC -O2 -o "$RUN_DIR/shift_clock.so" "$ROOT/tests/netns/tools/shift_clock.c" -ldl ||
	die "shift_clock.c cannot be compiled"
shift_by() { python3 -c 'import struct, sys; open(sys.argv[1], "wb").write(struct.pack("q", int(sys.argv[2])))' "$RUN_DIR/clock" "$1"; }
if [ "$PROFILE" = release ]; then # a sanitizer wants to be loaded first
	shift_by $((-20 * 365 * 86400))
	finds "a clock of years ago" problem E-DOC-11 'the clock says 20[01]' env "LD_PRELOAD=$RUN_DIR/shift_clock.so" "CLOCK_SHIFT=$RUN_DIR/clock"
	shift_by $((-3 * 86400))
	finds "a clock behind its own files" problem E-DOC-11 'days later' env "LD_PRELOAD=$RUN_DIR/shift_clock.so" "CLOCK_SHIFT=$RUN_DIR/clock"
	misses E-DOC-11
fi

# ---- the firewall ----
nft() { in_ns "$NS_A" nft "$@"; }
nft -f - <<'NFT'
table inet filter {
	chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iifname "lo" accept; tcp dport 22 accept; }
}
NFT
finds "a firewall that drops what is not named" problem E-DOC-5 'inet filter input drops UDP .*port 29900'
nft add rule inet filter input udp dport 29900 accept
misses E-DOC-5
nft flush ruleset
nft -f - <<'NFT'
table ip guard {
	chain bad { udp dport 20000-40000 reject; }
	chain input { type filter hook input priority 0; jump bad; }
	chain output { type filter hook output priority 0; }
}
NFT
finds "a firewall that drops by a jump and a range" problem E-DOC-5 'ip guard input drops'
nft flush ruleset
nft -f - <<'NFT'
table inet f {
	chain out { type filter hook output priority 0; meta l4proto udp th dport { 53, 29900 } drop; }
	chain input { type filter hook input priority 0; policy drop; ip saddr 192.0.2.2 accept; }
}
NFT
finds "one that drops what leaves" problem E-DOC-5 "inet f out drops UDP over IPv4 to the peers' port 29900"
check "one that may depend on who sends is a warning" grep -qE '^warning +E-DOC-5 +chain inet f input may drop' "$RUN_DIR/said"
nft flush ruleset
nft -f - <<'NFT'
table inet early {
	chain raw { type filter hook prerouting priority raw; udp dport 29900 drop; }
	chain late { type filter hook postrouting priority 300; udp dport 29900 drop; }
}
NFT
finds "one that drops before it is routed" problem E-DOC-5 'inet early raw drops UDP .*port 29900'
check "and behind" grep -qE '^problem +E-DOC-5 +chain inet early late drops' "$RUN_DIR/said"
nft flush ruleset
misses E-DOC-5

# ---- reverse paths, addresses, routes, rules ----
hub 'routes: {table: off}'
in_ns "$NS_A" sysctl -qw net.ipv4.conf.all.rp_filter=1
finds "strict rp_filter" problem E-DOC-6 'strict for kcp0'
# shellcheck disable=SC2016
finds "that it cannot know, where /proc is a container's" unknown E-DOC-18 'rp_filter' unshare -m sh -c \
	'mount -t proc -o subset=pid proc /proc && exec "$@"' sh
in_ns "$NS_A" sysctl -qw net.ipv4.conf.all.rp_filter=2
misses E-DOC-6
in_ns "$NS_A" sysctl -qw net.ipv4.conf.all.rp_filter=1
hub
misses E-DOC-6
in_ns "$NS_A" ip addr add 10.99.0.77/16 dev wan1
finds "an address that clashes" problem E-DOC-7 '10\.99\.0\.1/24, and wan1 has 10\.99\.0\.77/16'
in_ns "$NS_A" ip addr del 10.99.0.77/16 dev wan1
in_ns "$NS_A" ip addr add fd99::77/64 dev wan1
finds "one of IPv6" problem E-DOC-7 'wan1 has fd99::77/64'
in_ns "$NS_A" ip addr del fd99::77/64 dev wan1
misses E-DOC-7
in_ns "$NS_A" ip route add 10.72.0.0/16 dev wan1
finds "a route that clashes" problem E-DOC-8 '10\.72\.0\.0/16 leads to wan1'
in_ns "$NS_A" ip route del 10.72.0.0/16 dev wan1
in_ns "$NS_A" ip route add 10.72.5.0/24 dev wan1
finds "a route to a part" warning E-DOC-8 '10\.72\.5\.0/24 leads to wan1, and is a part of'
in_ns "$NS_A" ip route del 10.72.5.0/24 dev wan1
misses E-DOC-8
in_ns "$NS_A" ip rule add not fwmark 0xca6c table 51820
finds "another VPN's rules" warning E-DOC-15 'not fwmark 0xca6c looks up table 51820'
in_ns "$NS_A" ip rule del not fwmark 0xca6c table 51820
misses E-DOC-15

# ---- the way to the peers ----
in_ns "$NS_A" ip link set wan0 mtu 1200
finds "an MTU that is too small" problem E-DOC-9 'wan0, whose MTU is 1200'
in_ns "$NS_A" ip link set wan0 mtu 1500
hub 'x-note: none'
sed -i 's/^interface: {name: kcp0,/interface: {name: kcp0, mtu: 1450,/' "$HUB"
finds "an interface.mtu that is too large" warning E-DOC-9 'interface.mtu is 1450, and wan0'
hub
misses E-DOC-9
sed -i 's/"192.0.2.2:29900"/"no-such-host.invalid:29900"/' "$HUB"
finds "a name that means nothing" problem E-DOC-10 'no-such-host.invalid means no address'
hub
misses E-DOC-10

# ---- files and keys ----
chmod 0644 "$RUN_DIR/hub.key"
finds "a key file that others can read" problem E-DOC-12 'hub\.key'
chmod 0600 "$RUN_DIR/hub.key"
misses E-DOC-12
sed -i 's/^listen:/lisen:/' "$HUB"
finds "a configuration that is not valid" problem E-DOC-3 'unknown key "lisen"'
hub
misses E-DOC-3
sed "s/kcp0/kcp9/; s/29900/29911/g; s/10\.99\.0\.1\/24, \"fd99::1\/64\"/10.98.0.1\/24/" "$HUB" >"$RUN_DIR/twin.yaml"
finds "a file with the same key" warning E-DOC-13 'twin\.yaml'
vpnd_start "$NS_A" "$RUN_DIR/twin.yaml" || exit 1
finds "a daemon with the same key" problem E-DOC-13 'network twin, which runs on this host'
vpnd_stop twin
rm "$RUN_DIR/twin.yaml"
misses E-DOC-13

# ---- with a daemon ----
finds "a daemon that does not run" warning E-DOC-16 'no daemon'
vpnd_start "$NS_A" "$HUB" || exit 1
misses E-DOC-16
WRONG_KEY=$(native_key wrong)
native b 2 'listen: ["192.0.2.2:29900"]' 'session: {dead_after: 3s}' \
	"peers: {hub: {public_key: $WRONG_KEY, endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
told() { ctl hub status --json | jq -e '[.warnings[], .peers[].warnings[]] | join(" ") | test("key")' >/dev/null; }
wait_for "the hub notices" 40 told
finds "a peer whose file has another key" '(problem|warning)' E-DOC-14 '.'
vpnd_stop b
# and the other way round: the file here has another key than the peer
native b 2 'listen: ["192.0.2.2:29900"]' 'session: {dead_after: 3s}' \
	"peers: {hub: {public_key: $HUB_KEY, endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"
sed -i "s|$B_KEY|$WRONG_KEY|" "$HUB"
ctl hub reload >/dev/null || fail "reload with another key"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
stranger() { ctl hub status --json | jq -e '.warnings | join(" ") | test("from keys that no peer here has")' >/dev/null; }
wait_for "the hub notices a stranger" 40 stranger
finds "a peer that has another key than the file" '(problem|warning)' E-DOC-14 'from keys that no peer here has'
vpnd_stop b
hub
ctl hub reload >/dev/null || fail "reload with the right key"
"$BIN/kcpctl" key psk "$RUN_DIR/psk"
native b 2 'listen: ["192.0.2.2:29900"]' 'session: {dead_after: 3s}' \
	"peers: {hub: {public_key: $HUB_KEY, preshared_key_file: psk, endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
psk_told() { ctl hub status --json | jq -e '.peers[0] | (.drops.handshake_psk // 0) > 0 or (.warnings | join(" ") | test("preshared"))' >/dev/null; }
wait_for "the hub notices the preshared key" 40 psk_told
finds "a preshared key on one side only" problem E-DOC-14 'peer b: .*preshared'
vpnd_stop b
native b 2 'listen: ["192.0.2.2:29900"]' 'session: {dead_after: 3s}' \
	"peers: {hub: {public_key: $HUB_KEY, endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
ctl hub wait b --timeout 20s || fail "b is not up with the right keys"
doctor
expect "with a peer that is up: exit status" "$DOCTOR" == 0
in_ns "$NS_B" nft -f - <<'NFT'
table inet narrow {
	chain in { type filter hook prerouting priority -300; iifname "wan0" meta length gt 1200 drop; }
}
NFT
finds "a path that is too narrow farther away" problem E-DOC-9 'peer b: small datagrams come back'
in_ns "$NS_B" nft flush ruleset
misses E-DOC-9
in_ns "$NS_A" ip link set kcp0 down
finds "what the daemon itself warns of" warning E-DOC-17 'set the link of kcp0 down'
ctl hub up >/dev/null

# ---- as JSON, and without root ----
ctl_a() { in_ns "$NS_A" "$BIN/kcpctl" --control "$RUN_DIR/control/hub/control.sock" "$@"; }
check "JSON" [ "$(ctl_a doctor "$HUB" --json | jq -c '[.problems, ([.findings[].level] | index("ok")) != null]')" = '[0,true]' ]
mkdir -m 755 "$RUN_DIR/bin"
cp "$BIN/kcpctl" "$RUN_DIR/bin/kcpctl"
in_ns "$NS_A" setpriv --reuid=65534 --regid=65534 --clear-groups "$RUN_DIR/bin/kcpctl" --control "$RUN_DIR/control/hub/control.sock" doctor "$HUB" >"$RUN_DIR/said" 2>&1
check "without root it says what it cannot see" grep -qE '^unknown +E-DOC-18' "$RUN_DIR/said"

check "the hub ends in order" vpnd_stop hub
check "b ends in order" vpnd_stop b
