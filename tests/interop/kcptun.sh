#!/bin/bash
# profiles: release asan
# timeout: 120
# takes: 32 s, 6 s of CPU
#
# The packaged kcptun-server and kcptun-client against kcpcat with the packaged smux on its standard input and output.
#
# usage: [PROFILE=asan] tests/interop/kcptun.sh [--only TEXT]
set -eu
cd "$(dirname "$0")/../.."
for program in kcptun-server kcptun-client; do
	command -v "$program" >/dev/null || { echo "FAIL $program is missing: scripts/deps installs it" >&2; exit 1; }
done
tests/interop/peer/build
exec build/interop/peer kcptun --kcpcat "build/${PROFILE:-release}/kcpcat" "$@"
