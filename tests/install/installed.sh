#!/bin/bash
# profiles: release
# timeout: 120
#
# What `make install` leaves, in a folder of its own: units that systemd takes and thinks well of, manuals that know all keys
# and options, examples that load, a library that links.
. "$(dirname "$0")/../netns/lib.sh"

for _tool in systemd-analyze man scdoc pkg-config; do
	command -v "$_tool" >/dev/null || die "$_tool is missing; scripts/deps installs it"
done
DEST=$RUN_DIR/dest
make -C "$ROOT" --no-print-directory -s "B=$BIN" install "DESTDIR=$DEST" PREFIX=/usr >"$RUN_DIR/log/install.log" 2>&1 ||
	die "make install fails"
pass "make install"
for file in usr/sbin/vpnd usr/bin/kcpctl usr/bin/kcpcat usr/lib/libkcpvpn.a usr/lib/libkcpvpn.so usr/lib/pkgconfig/kcpvpn.pc \
	usr/include/kcpvpn/node.h usr/share/man/man8/vpnd.8 usr/share/man/man8/kcpctl.8 usr/share/man/man1/kcpcat.1 \
	usr/share/man/man5/vpnd.yaml.5 usr/share/bash-completion/completions/kcpctl usr/share/zsh/site-functions/_kcpctl \
	usr/share/fish/vendor_completions.d/kcpctl.fish usr/share/doc/kcpvpn/examples/laptop.yaml \
	usr/lib/systemd/system/vpnd@.service usr/lib/systemd/system/vpnd@.socket usr/lib/sysusers.d/vpnd.conf \
	usr/lib/tmpfiles.d/vpnd.conf usr/lib/systemd/network/10-kcpvpn.network usr/lib/systemd/networkd.conf.d/kcpvpn.conf \
	usr/lib/NetworkManager/conf.d/kcpvpn.conf; do
	[ -s "$DEST/$file" ] || fail "$file is not there"
done
check "nothing is left to be filled in" sh -c "! grep -rlI '@[A-Z]*DIR@\|@VERSION@\|@PREFIX@' '$DEST'"
DESTDIR2=$RUN_DIR/other
make -C "$ROOT" --no-print-directory -s "B=$BIN" install "DESTDIR=$DESTDIR2" PREFIX=/opt/kcp SYSCONFDIR=/opt/kcp/etc \
	>>"$RUN_DIR/log/install.log" 2>&1
check "another PREFIX and SYSCONFDIR hold" [ "$(cd "$DESTDIR2" && echo *)" = opt ]
check "the unit follows" grep -q '^ExecStart=/opt/kcp/sbin/vpnd %i$' "$DESTDIR2/opt/kcp/lib/systemd/system/vpnd@.service"

# ---- units ----
mkdir "$RUN_DIR/units"
for unit in vpnd@office.service vpnd@office.socket; do
	sed "s|/usr/sbin/vpnd|$DEST/usr/sbin/vpnd|" "$DEST/usr/lib/systemd/system/${unit/office/}" >"$RUN_DIR/units/$unit"
done
systemd-analyze --man=no verify "$RUN_DIR/units"/* >"$RUN_DIR/said" 2>&1
expect "systemd-analyze verify: exit status" $? == 0
# What it says of units that are this host's is not ours.
check "and nothing to say" sh -c "! grep -E 'vpnd|units' '$RUN_DIR/said'"
systemd-analyze security --offline=true --threshold=25 "$RUN_DIR/units/vpnd@office.service" >"$RUN_DIR/said" 2>&1
expect "exposure of 2.5 or less ($(tail -n 1 "$RUN_DIR/said")): exit status" $? == 0
echo 'Foo=bar' >>"$RUN_DIR/units/vpnd@office.socket"
check "that test can fail" sh -c "systemd-analyze --man=no verify '$RUN_DIR/units/vpnd@office.socket' 2>&1 | grep -q Foo"

mkdir "$DEST/etc" 2>/dev/null
: >"$DEST/etc/passwd"
: >"$DEST/etc/group"
check "sysusers" systemd-sysusers "--root=$DEST" 2>"$RUN_DIR/said"
group() { awk -F: -v name="$1" '$1 == name { print $3 }' "$DEST/etc/group"; }
expect "the user's group is vpnd-worker" "$(awk -F: '$1 == "vpnd" { print $4 }' "$DEST/etc/passwd")" == "$(group vpnd-worker)"
check "nobody is in it beside the user, nor in the others" [ "$(cut -d: -f4 "$DEST/etc/group" | tr -d '\n')" = '' ]
for name in $(sed -n 's/^Group=//p; s/^SupplementaryGroups=//p; s/^SocketGroup=//p' "$DEST"/usr/lib/systemd/system/*) vpnd-admin; do
	check "there is the group $name" [ -n "$(group "$name")" ]
done
check "tmpfiles" systemd-tmpfiles "--root=$DEST" --create vpnd.conf
expect "/run/vpnd: mode" "$(stat -c %a "$DEST/run/vpnd")" == 755

# ---- manuals ----
export LC_ALL=C.UTF-8 MANWIDTH=80
mkdir "$RUN_DIR/man"
for page in "$DEST"/usr/share/man/man?/*; do
	name=$(basename "$page")
	man --warnings -l "$page" >"$RUN_DIR/man/$name" 2>"$RUN_DIR/said"
	expect "man $name: exit status" $? == 0
	check "man $name: no warning" [ ! -s "$RUN_DIR/said" ] || cat "$RUN_DIR/said"
done
# As one line, words that were cut in two joined again.
told() { sed ':a; N; $!ba; s/‐\n *//g; s/\n/ /g; s/  */ /g' "$RUN_DIR/man/$1"; }
lacks() { # TEXT PAGE WORDS...: says which words the page does not have
	local text=$1 page=$2 word all missing=()
	shift 2
	all=$(told "$page")
	for word in "$@"; do
		grep -qE -- "(^|[ ,|[])${word//./\\.}([] ,;:|=]|\$)" <<<"$all" || missing+=("$word")
	done
	check "$text ($#)" [ ${#missing[@]} = 0 ] || echo "      ${missing[*]}"
}
mapfile -t keys < <("$BIN/kcpctl" config schema | jq -r '
	def keys($at): (.properties // {}) | to_entries[] | ($at + .key) as $key |
		if .value.properties then .value | keys($key + ".") else $key end;
	keys(""), (.properties.peers.additionalProperties // .properties.peers.patternProperties[]? |
		keys("peers.NAME.") | select(test("\\.NAME\\.[a-z_]+$")))' | grep -v '^peers$' | sort -u)
expect "keys of the schema" ${#keys[@]} '>' 60
lacks "vpnd.yaml(5) has all keys" vpnd.yaml.5 "${keys[@]/%/:}"
options() { grep -oE -- '(^|[ [|])--?[a-z][a-z-]*' | tr -d ' [|' | sort -u; }
mapfile -t found < <("$BIN/vpnd" --help | options)
lacks "vpnd(8) has all options" vpnd.8 "${found[@]}"
mapfile -t found < <("$BIN/kcpcat" --help 2>&1 | options)
lacks "kcpcat(1) has all options" kcpcat.1 "${found[@]}"
mapfile -t verbs < <("$BIN/kcpctl" help | sed -nE 's/^  ([a-z]+).*/\1/p' | sort -u)
expect "verbs" ${#verbs[@]} '>' 15
mapfile -t found < <(for verb in "${verbs[@]}"; do "$BIN/kcpctl" help "$verb"; done | options
	"$BIN/kcpctl" help | options)
lacks "kcpctl(8) has all verbs" kcpctl.8 "${verbs[@]}"
lacks "and all options" kcpctl.8 "${found[@]}"
printf '%s\n' 'x(5)' '' '# NAME' '' 'x - y' '' '@KEYS dns@' >"$RUN_DIR/part.scd"
check "a manual that lacks keys is refused when it is made" sh -c "! '$BIN/config_table' '$RUN_DIR/part.scd' >/dev/null 2>&1"

# ---- examples ----
for file in "$DEST"/usr/share/doc/kcpvpn/examples/*.yaml; do
	name=$(basename "$file")
	mkdir "$RUN_DIR/$name"
	cp "$file" "$RUN_DIR/$name/"
	for key in $(grep -oE '[a-z0-9-]+\.(key|psk)' "$file" | sort -u); do
		"$BIN/kcpctl" key gen "$RUN_DIR/$name/$key" >/dev/null
	done
	"$BIN/kcpctl" config check "$RUN_DIR/$name/$name" >"$RUN_DIR/said" 2>&1
	expect "$name loads: exit status" $? == 0 || cat "$RUN_DIR/said"
	"$DEST/usr/sbin/vpnd" --check -c "$RUN_DIR/$name/$name" >"$RUN_DIR/said" 2>&1
	expect "$name, by vpnd: exit status" $? == 0 || cat "$RUN_DIR/said"
done

# ---- the library ----
cat >"$RUN_DIR/use.c" <<'C'
#include <kcpvpn/node.h>
int main(void)
{
	struct kcpvpn_config config;
	kcpvpn_config_init(&config);
	return config.data_shards == 10 ? 0 : 1;
}
C
export PKG_CONFIG_SYSROOT_DIR=$DEST PKG_CONFIG_PATH=$DEST/usr/lib/pkgconfig PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
# shellcheck disable=SC2046
"${CC:-gcc}" -o "$RUN_DIR/use" "$RUN_DIR/use.c" $(pkg-config --cflags --libs kcpvpn) >"$RUN_DIR/log/use.log" 2>&1
expect "a program links by pkg-config: exit status" $? == 0
check "and runs" env "LD_LIBRARY_PATH=$DEST/usr/lib" "$RUN_DIR/use"
