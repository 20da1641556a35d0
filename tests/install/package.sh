#!/bin/bash
# profiles: release
# timeout: 180
# takes: 14 s, 16 s of CPU
#
# The Debian packages: they are made, twice the same, and lintian finds no error.
. "$(dirname "$0")/../netns/lib.sh"

for _tool in dpkg-deb dpkg-shlibdeps lintian; do
	command -v "$_tool" >/dev/null || die "$_tool is missing; scripts/deps installs it"
done
for turn in 1 2; do
	B=$BIN "$ROOT/scripts/package-deb" -o "$RUN_DIR/$turn" >"$RUN_DIR/log/package.log" 2>&1 || die "scripts/package-deb fails"
	umask 077 # must not matter
	sleep 1.1  # nor must the time
done
umask 022
pass "packages are made"
for package in kcpvpn libkcpvpn-dev; do
	deb=$(echo "$RUN_DIR/1/${package}_"*.deb)
	check "$package: the same sources give the same bytes" cmp "$deb" "$RUN_DIR/2/$(basename "$deb")"
	lintian --allow-root --fail-on error "$deb" >"$RUN_DIR/said" 2>&1
	expect "$package: lintian: exit status" $? == 0 || cat "$RUN_DIR/said"
	check "$package: and nothing to say" [ ! -s "$RUN_DIR/said" ] || cat "$RUN_DIR/said"
	dpkg-deb -c "$deb" >"$RUN_DIR/$package.files"
	check "$package: everything is root's" [ -z "$(awk '$2 != "root/root"' "$RUN_DIR/$package.files")" ]
done
has() { grep -q " \./$2\$" "$RUN_DIR/$1.files" || fail "$1 lacks $2"; }
for file in usr/sbin/vpnd usr/bin/kcpctl usr/bin/kcpcat usr/share/man/man8/vpnd.8.gz usr/share/man/man5/vpnd.yaml.5.gz \
	usr/share/man/man8/kcpctl.8.gz usr/share/man/man1/kcpcat.1.gz lib/systemd/system/vpnd@.service \
	lib/systemd/system/vpnd@.socket lib/systemd/system/vpnd-hold@.service usr/lib/sysusers.d/vpnd.conf usr/share/bash-completion/completions/kcpctl \
	usr/share/doc/kcpvpn/examples/laptop.yaml; do
	has kcpvpn "$file"
done
for file in usr/include/kcpvpn/node.h 'usr/lib/[^/]*/libkcpvpn.a' 'usr/lib/[^/]*/pkgconfig/kcpvpn.pc'; do
	has libkcpvpn-dev "$file"
done
check "the packages have no file in common" [ -z "$(awk '!/\/$/ { print $6 }' "$RUN_DIR"/*.files | sort | uniq -d)" ]
