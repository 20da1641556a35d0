#!/bin/bash
# alone
# profiles: release
# timeout: 180
# takes: 23 s, 4 s of CPU
#
# What a person tries first: scripts/demo builds, shows, ends with 0, and leaves nothing behind. (It makes its own
# namespaces, as drawn in it.)
. "$(dirname "$0")/lib.sh"

# What processes that are gone have left; other tests may run at the same time.
left() {
	local name pid
	for name in $(ip netns list | sed -nE 's/^(vt[0-9]+-[ab])( .*|$)/\1/p' | sort); do
		pid=${name#vt}
		[ -d "/proc/${pid%-*}" ] || echo "$name"
	done
	find /tmp -maxdepth 1 -name 'vpnd-demo.*' | sort
}
left >"$RUN_DIR/before"

# From elsewhere, without a terminal.
before=$(date +%s)
(cd / && env -u SAN_DIR "$ROOT/scripts/demo") </dev/null >"$RUN_DIR/log/demo.log" 2>&1
expect "exit status" $? == 0
took=$(($(date +%s) - before))
said() { check "it shows $1" grep -qE "$2" "$RUN_DIR/log/demo.log"; }
said "the link" '100 Mb/s, RTT 60 ms'
said "the pings" '^through the tunnel: +0 of 100 lost'
said "the transfer beside the tunnel" '^beside the tunnel: +[0-9.]+ Mb/s'
said "the transfer through the tunnel" '^through the tunnel: +[0-9.]+ Mb/s'
said "what kcpctl says of site A" '^site-b +(up|degraded) +192\.0\.2\.2:29900'
said "what kcpctl says of site B" '^site-a +(up|degraded) +192\.0\.2\.1:'
check "no colours without a terminal" [ "$(grep -c $'\e' "$RUN_DIR/log/demo.log")" = 0 ]
check "nothing went wrong" [ "$(grep -cE '^FAIL' "$RUN_DIR/log/demo.log")" = 0 ]
expect "seconds, with nothing to build" "$took" '<=' 60
left >"$RUN_DIR/after"
check "no folder or namespace of it is left" cmp -s "$RUN_DIR/before" "$RUN_DIR/after" || diff "$RUN_DIR/before" "$RUN_DIR/after"
sed -nE 's/^(beside|through) the tunnel: .*/      &/p; /times as fast/s/^/      /p' "$RUN_DIR/log/demo.log"
check "a wrong word gets the usage" grep -q '^usage: scripts/demo' <("$ROOT/scripts/demo" wrong 2>&1)
