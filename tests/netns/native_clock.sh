#!/bin/bash
# profiles: release
# timeout: 120
#
# No site needs the right time: A's clock is in 1970, a day ahead, a day behind, from the start and while it runs, and so
# is B's. Each join takes no longer than with good clocks, but for one more round trip where a clock was set back; and a
# session does not notice. Only these two processes see the wrong time (tools/shift_clock.c), in the sandbox as always.
#
#     site A                                                                             site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 20 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      calls                                        listens; never restarted but for the last scene
. "$(dirname "$0")/lib_sites.sh"

"${CC:-cc}" -shared -fPIC -O2 -o "$RUN_DIR/shift_clock.so" "$ROOT/tests/netns/tools/shift_clock.c" -ldl ||
	die "shift_clock.c cannot be compiled"
lab_start --delay 10ms --seed 9
key_a=$(native_key a) key_b=$(native_key b)
native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"

shift_clock() { # NAME SECONDS. Written in place: a process that runs has it mapped
	python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("=q", int(sys.argv[1])))' "$2" 1<>"$RUN_DIR/$1.clock"
}
start() { # NAME NAMESPACE
	LD_PRELOAD=$RUN_DIR/shift_clock.so CLOCK_SHIFT=$RUN_DIR/$1.clock vpnd_start "$2" "$RUN_DIR/$1.yaml" || exit 1
}
sandboxed() { [ "$(awk '/^Seccomp:/ { print $2 }' "/proc/$(vpnd_pid "$1")/status")" = 2 ]; }
# What the process takes for today, by the last line of its log.
says() { grep -vE '^ ' "$(vpnd_log "$1")" | tail -n 1 | cut -c 1-10; }
day() { date -u -d "@$((EPOCHSECONDS + $1))" +%F; }
through() { answers "$NS_A" 10.99.0.2 -W 0.2; }
join() { # TEXT SECONDS
	seconds_until 20 through
	expect "$1: joined after, s" "$TOOK" '<=' "$2"
	all_answer "$1" "$NS_B" 10.99.0.1 10 -i 0.02
}
handshakes() { grep -c ': up at' "$(vpnd_log "$1")"; }

EPOCH=$((-EPOCHSECONDS + 60))
DAY=86400
shift_clock a 0
shift_clock b 0
start b "$NS_B"
start a "$NS_A"
check "A's sandbox is active" sandboxed a
join "good clocks" 1
for scene in "1970:$EPOCH" "a day ahead:$DAY" "a day behind:-$DAY" "1970 again:$EPOCH" "good again:0"; do
	vpnd_kill a
	shift_clock a "${scene#*:}"
	start a "$NS_A"
	check "A's clock, ${scene%:*}: it believes that" [ "$(says a)" = "$(day "${scene#*:}")" ]
	join "A's clock, ${scene%:*}" 1
done

# The clock is set while the session lives, and then a new one is needed: down and up.
for scene in "1970:$EPOCH" "a day ahead:$DAY" "a day behind:-$DAY"; do
	before=$(handshakes a)
	age=$(status a '.peers[0].handshake_age_s')
	shift_clock a "${scene#*:}"
	all_answer "A's clock is set to ${scene%:*} while it runs" "$NS_A" 10.99.0.2 20 -i 0.02
	expect "the session is the same" "$(handshakes a)" == "$before"
	expect "its age does not jump, s" "$(status a '.peers[0].handshake_age_s') - $age" '<=' 5
	expect "nor backwards, s" "$(status a '.peers[0].handshake_age_s') - $age" '>=' 0
	ctl a down >/dev/null
	ctl a up >/dev/null
	join "A's clock is set to ${scene%:*} while it runs, down and up" 1
done

# B's clock has no part in it.
for scene in "1970:$EPOCH" "a day ahead:$DAY" "a day behind:-$DAY"; do
	vpnd_kill b
	shift_clock b "${scene#*:}"
	start b "$NS_B"
	check "B's clock, ${scene%:*}: it believes that" [ "$(says b)" = "$(day "${scene#*:}")" ]
	join "B's clock, ${scene%:*}" 1
done
check "A's sandbox is active" sandboxed a
check "A ends in order" vpnd_stop a
check "B ends in order" vpnd_stop b
