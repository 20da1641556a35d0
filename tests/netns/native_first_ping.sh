#!/bin/bash
# alone
# profiles: release
# timeout: 120
#
# The first packet does not wait: from both ends READY to the answer of the first ping there pass two round trips, one
# for the handshake and one for the ping, and 20 ms for everything else. Median of seven runs, each with new processes
# and an empty memory. READY is taken to be the moment the later daemon's log has it.
#
#     site A                                                                              site B
#     10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab, RTT 60 ms --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2
#                      calls                                                         listens
. "$(dirname "$0")/lib_sites.sh"

RUNS=7
RTT=60
AIM=140 # 2 RTT + 20 ms
lab_start --delay 30ms --seed 12
key_a=$(native_key a) key_b=$(native_key b)
native a 1 "peers: {b: {public_key: \"$key_b\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
native b 2 'listen: ["[::]:29900"]' "peers: {a: {public_key: \"$key_a\", allowed_ips: [10.99.0.1]}}"

# Milliseconds of the clock at which a daemon said that its network is up, which it does as it says READY.
ready_at() {
	local stamp
	stamp=$(sed -nE 's/^([^ ]+) .*network .* is up on .*/\1/p' "$(vpnd_log "$1")" | tail -n 1)
	date -d "$stamp" +%s%3N
}
# One run; sets TIME in milliseconds.
run() {
	local ready answered
	rm -f "$RUN_DIR"/state/*/*.peers
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	in_ns "$NS_A" ping -n -D -c 1 -W 5 10.99.0.2 >"$RUN_DIR/first" 2>&1 || die "the first ping was lost"
	answered=$(sed -nE 's/^\[([0-9]+)\.([0-9]{3}).*time=.*/\1\2/p' "$RUN_DIR/first")
	ready=$(ready_at a)
	TIME=$((answered - ready))
	echo "from READY to the answer: $TIME ms; ping itself: $(sed -nE 's/.*time=(.*)/\1/p' "$RUN_DIR/first")"
	vpnd_stop a
	vpnd_stop b
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

times=()
for ((i = 0; i < RUNS; i++)); do
	run
	times+=("$TIME")
done
expect "a ping needs a round trip at least, ms" "$(printf '%s\n' "${times[@]}" | sort -n | head -n 1)" '>=' $RTT
expect "from READY to the answer of the first ping, median, ms" "$(median "${times[@]}")" '<=' $AIM
expect "the slowest, ms" "$(printf '%s\n' "${times[@]}" | sort -n | tail -n 1)" '<=' $((AIM + 100))
