#!/bin/bash
# profiles: release
# timeout: 900
# long
#
# The library on another kind of processor: its layers and their unit tests, built for aarch64 and run by an emulator. There
# char is unsigned, the batches of lib/crypto have libsodium as their only engine, and ISA-L and libsodium use NEON.
#
# The libraries for it come from Debian's archive, into build/aarch64/root; the host's package database is left alone.
#
# usage: tests/interop/aarch64.sh [LAYER...]
set -eu
cd "$(dirname "$0")/../.."
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static apt-get dpkg-deb; do
	command -v "$tool" >/dev/null || {
		echo "FAIL  $tool is missing; scripts/deps test-long installs it"
		exit 1
	}
done
out=$PWD/build/aarch64
root=$out/root
libs=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu

fetch() {
	local apt=$out/apt
	mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$out/debs" "$root"
	: >"$apt/state/status"
	printf '%s\n' 'APT::Architecture "arm64";' 'APT::Architectures { "arm64"; };' 'APT::Sandbox::User "root";' \
		"Dir::State \"$apt/state\";" "Dir::State::status \"$apt/state/status\";" "Dir::Cache \"$apt/cache\";" >"$apt/apt.conf"
	export APT_CONFIG=$apt/apt.conf
	apt-get -qq update
	(cd "$out/debs" && apt-get -qq download libsodium{23,-dev} libgcrypt20{,-dev} libgpg-error{0,-dev} libisal{2,-dev})
	for package in "$out"/debs/*.deb; do
		dpkg-deb -x "$package" "$root"
	done
	touch "$root/.whole"
}
[ -e "$root/.whole" ] || fetch

objects_of() { # LAYER FILE...: builds what is not there, or is older than its source; sets OBJECTS
	local layer=$1 file object warnings
	shift
	OBJECTS=()
	for file; do
		object=$out/obj/$layer/${file//\//_}.o
		OBJECTS+=("$object")
		[ "$object" -nt "$file" ] && continue
		warnings='-w'
		[[ $file != lib/* ]] || warnings='-Wall -Wextra -Wshadow -Wconversion -Werror'
		# shellcheck disable=SC2086
		aarch64-linux-gnu-gcc -std=c17 -D_GNU_SOURCE -O2 -g $warnings -Itests/interop -I. -Ilib -Ilib/include \
			-I"$root/usr/include" -I"$root/usr/include/aarch64-linux-gnu" -DTESTS_DIR='"tests"' -c -o "$object" "$file"
	done
}

failures=0
[ $# -gt 0 ] || set -- crypto core fec kcp session stack
for layer; do
	below="$layer core"
	[ "$layer" != core ] || below=core
	[ "$layer" != stack ] || below='stack session kcp fec crypto udp core'
	sources=()
	for part in $below; do
		sources+=("lib/$part"/*.c)
	done
	rm -rf "$out/obj/$layer"
	mkdir -p "$out/obj/$layer"
	objects_of "$layer" "${sources[@]}" "tests/unit/$layer"/*.c tests/interop/criterion/criterion.c
	aarch64-linux-gnu-gcc -o "$out/unit-$layer" "${OBJECTS[@]}" -L"$root/usr/lib/aarch64-linux-gnu" \
		-Wl,-rpath-link,"$libs" -lsodium -lgcrypt -lgpg-error -lisal -lm
	if said=$(timeout 800 qemu-aarch64-static -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$libs" "$out/unit-$layer" 2>&1); then
		echo "PASS  $layer: $(tail -n 1 <<<"$said")"
	else
		echo "FAIL  $layer"
		tail -n 40 <<<"$said"
		failures=1
	fi
done
exit $failures
