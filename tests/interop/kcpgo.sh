#!/bin/bash
# profiles: release asan
# timeout: 300
# takes: 110 s, 36 s of CPU
#
# kcp-go 5.6.1 as packaged against kcpcat, on the loopback: each cipher, FEC of many kinds, streams and messages, loss.
#
# usage: [PROFILE=asan] tests/interop/kcpgo.sh [--only TEXT] [-j N] [--seed N]
#        tests/interop/kcpgo.sh --reference --kcpcat "build/interop/peer cat"     kcp-go takes kcpcat's place
set -eu
cd "$(dirname "$0")/../.."
tests/interop/peer/build
profile=${PROFILE:-release}
sizes=()
[ "$profile" = release ] || sizes=(--bytes 262144 --bulk 8388608)
exec build/interop/peer kcpgo --kcpcat "build/$profile/kcpcat" "${sizes[@]}" "$@"
