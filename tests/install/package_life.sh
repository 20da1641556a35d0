#!/bin/bash
# profiles: release
# timeout: 600
# long
#
# The package in a Debian of its own, made by debootstrap from the mirror that apt uses here: installed, upgraded while a
# tunnel carries pings, removed, purged.
#
#     $ROOT_A (chroot), 192.0.2.1: vpnd from the package ═══ emulated link ═══ 192.0.2.2: vpnd b from the build
. "$(dirname "$0")/../netns/lib_sites.sh"

for _tool in debootstrap dpkg-deb; do
	command -v "$_tool" >/dev/null || die "$_tool is missing; scripts/deps installs it"
done
ROOT_A=$RUN_DIR/root
MIRROR=$(apt-cache policy | sed -nE 's|.* (https?://[^ ]*/debian) ([a-z]+)/main .*|\1|p' | head -n 1)
SUITE=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
B=$BIN "$ROOT/scripts/package-deb" -o "$RUN_DIR" -v 0.1.0-1 >"$RUN_DIR/log/package.log" 2>&1 || die "no package"
B=$BIN "$ROOT/scripts/package-deb" -o "$RUN_DIR" -v 0.1.0-2 >>"$RUN_DIR/log/package.log" 2>&1 || die "no second package"
debootstrap --variant=minbase "$SUITE" "$ROOT_A" "${MIRROR:-http://deb.debian.org/debian}" >"$RUN_DIR/log/debootstrap.log" 2>&1 ||
	die "debootstrap fails: it takes root and the mirror ${MIRROR:-deb.debian.org}"

# A mount namespace of its own for all that runs there, so that nothing stays mounted whatever happens.
spawn HOLDER - holder unshare --mount --pid --fork --kill-child sh -c '
	mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" &&
	mount -t tmpfs tmpfs "$1/tmp" && touch "$1/tmp/ready" && exec sleep 100000' sh "$ROOT_A"
held() { HELD=$(pgrep -P "$HOLDER" | head -n 1) && [ -e "/proc/$HELD/root$ROOT_A/tmp/ready" ]; }
wait_for "the other root is there" 10 held || exit 1
inside() { nsenter "--target=$HELD" --mount --pid -- chroot "$ROOT_A" "$@"; }
inside_ns() { nsenter "--net=/run/netns/$NS_A" "--target=$HELD" --mount --pid -- chroot "$ROOT_A" "$@"; }
cp "$RUN_DIR"/*.deb "$ROOT_A/root/"
apt() { inside env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@" >>"$RUN_DIR/log/apt.log" 2>&1; }
deb() { echo "/root/kcpvpn_0.1.0-$1_$(dpkg --print-architecture).deb"; }

quiet() { "$@" >/dev/null 2>&1; }

# ---- installed ----
apt install "$(deb 1)" || die "apt install fails"
pass "apt install ./kcpvpn.deb"
check "the user is there" quiet inside getent passwd vpnd
for group in vpnd vpnd-admin vpnd-worker; do
	check "the group $group" quiet inside getent group $group
done
expect "programs run: exit status" "$(inside vpnd --version >/dev/null; echo $?)" == 0
PUBLIC_A=$(inside kcpctl key gen /etc/vpnd/office.key)
check "kcpctl key gen" [ -n "$PUBLIC_A" ]

# ---- a tunnel ----
netns_new NS_A a
netns_new NS_B b
lab_start
native b 2 "listen: ['192.0.2.2:29900']" "peers: {a: {public_key: $PUBLIC_A, allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
cat >"$ROOT_A/etc/vpnd/office.yaml" <<YAML
version: 1
identity: {private_key_file: office.key}
interface: {name: kcp0, addresses: [10.99.0.1/24]}
peers: {b: {public_key: $(native_key b), endpoints: ['192.0.2.2:29900'], allowed_ips: [10.99.0.2]}}
YAML
start() { spawn OFFICE - office nsenter "--net=/run/netns/$NS_A" "--target=$HELD" --mount --pid -- chroot "$ROOT_A" vpnd office; }
start
joined "$NS_A" 10.99.0.2 || exit 1
check "state is kept by the user vpnd" [ "$(inside stat -c %U /var/lib/vpnd/office)" = vpnd ]
worker() { inside pgrep -x vpnd; }
before=$(worker)
check "the worker is the user vpnd" grep -q 'handled by user vpnd ' "$RUN_DIR/log/office.log"

# ---- upgraded meanwhile ----
pings_start upgrade "$NS_A" 10.99.0.2
apt install "$(deb 2)" || fail "the upgrade fails"
check "the new version is installed" [ "$(inside dpkg-query -W -f '${Version}' kcpvpn)" = 0.1.0-2 ]
pings_stop upgrade
expect "pings during the upgrade" "$PINGS_SENT" '>' 50
expect "of these lost" "$PINGS_LOST" == 0
check "the same daemon runs" [ "$(worker)" = "$before" ]
check "the package says that it does" grep -q 'network office may still run version 0.1.0-1' "$RUN_DIR/log/apt.log"
check "kcpctl of the new version speaks with it" quiet inside_ns kcpctl status
check "reload" quiet inside_ns kcpctl reload

# ---- the same version once more ----
apt install --reinstall "$(deb 2)" || fail "the same once more fails"
check "the same daemon runs" [ "$(worker)" = "$before" ]

# ---- removed: the daemon ends in order ----
apt remove kcpvpn || fail "apt remove fails"
ended() { [ -z "$(worker)" ]; }
wait_for "the daemon has ended" 10 ended && pass "the daemon has ended"
check "with its device" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]
check "the programs are gone" [ ! -e "$ROOT_A/usr/sbin/vpnd" ]
check "file and key stay" [ -s "$ROOT_A/etc/vpnd/office.key" ]
check "state stays" [ -d "$ROOT_A/var/lib/vpnd/office" ]
check "the other side's daemon was none of it" is_ours "$(vpnd_pid b)"

# ---- purged ----
apt purge kcpvpn || fail "apt purge fails"
check "state is gone" [ ! -e "$ROOT_A/var/lib/vpnd" ]
check "the key is not" [ -s "$ROOT_A/etc/vpnd/office.key" ]
check "nothing else of the package is left" [ -z "$(inside find / -xdev \( -name '*kcpvpn*' -o -name '*vpnd*' -o -name '*kcpctl*' \) \
	-not -path '/etc/vpnd*' -not -path '/root/*' -not -path '/var/lib/dpkg/*' -not -path '/var/cache/*' -not -path '/var/log/*' | tee "$RUN_DIR/said")" ] ||
	cat "$RUN_DIR/said"
check "dpkg does not know it" sh -c "! nsenter --target=$HELD --mount -- chroot '$ROOT_A' dpkg-query -W kcpvpn 2>/dev/null | grep -q ."

# ---- and back again; with systemd's tools, that make the user ----
apt install systemd || fail "systemd cannot be installed"
inside userdel vpnd
apt install "$(deb 2)" || fail "it cannot be installed again"
check "sysusers makes the user" [ "$(inside id -gn vpnd)" = vpnd-worker ]
check "the units are fine there" quiet inside systemd-analyze --man=no verify vpnd@office.service vpnd@office.socket
apt install "/root/libkcpvpn-dev_0.1.0-2_$(dpkg --print-architecture).deb" || fail "libkcpvpn-dev cannot be installed"
start
joined "$NS_A" 10.99.0.2 && pass "the tunnel is back"
apt purge kcpvpn libkcpvpn-dev || fail "apt purge fails"
wait_for "the daemon has ended" 10 ended && pass "purge of a running one ends it, too"
check "state is gone" [ ! -e "$ROOT_A/var/lib/vpnd" ]
end_pid "$HOLDER" KILL 10
[ "$FAILURES" = 0 ]
