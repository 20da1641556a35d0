#!/bin/bash
# alone
# profiles: release
# timeout: 900
# takes: 600 s, 400 s of CPU
# long
#
# The shards of a peer share one fair rate: beside a CUBIC flow that goes without the tunnel, two workers take no more of the
# link than one does. In turn, medians of five, of 40 s each: who has more of a link changes with every loss, so what one run
# of a few seconds shows is chance by ten points and more.
#
#     $NS_A  8 x iperf3 -c --- vpnd ===+== lab, 50 Mb/s, RTT 60 ms ==+=== vpnd --- iperf3 -s  $NS_B
#            1 x iperf3 -c ------------+                             +----------- iperf3 -s
. "$(dirname "$0")/lib_rows.sh"

PLAIN_PORT=5301
WORKERS=1
POINTS=10 # of a hundred
SETTLE=10 SECONDS_EACH=40

eval "start_$(declare -f vpnd_pair)"
vpnd_pair() {
	sed -i "s/interface: {name: kcp0,/interface: {name: kcp0, queues: $WORKERS,/" "$RUN_DIR"/[ab].yaml
	start_vpnd_pair
}
queue() { status a ".interface.workers[$1].rx_packets // 0"; }

share() { # WORKERS SEED: sets SHARE, percent
	local tunnel plain
	WORKERS=$1
	lab_start --rate 50M --delay 30ms --queue 60ms --seed "$2"
	check "$1 workers: the tunnel comes up" native_start || exit 1
	expect "workers" "$(status a .interface.queues)" == "$1"
	load_serve plain "$NS_B" $PLAIN_PORT || exit 1
	load_serve tunnel "$NS_B" $LOSSY_BULK_PORT || exit 1
	load_start tunnel "$NS_A" "$PEER_TO" $LOSSY_BULK_PORT 8 $((SETTLE + SECONDS_EACH + 20))
	load_start plain "$NS_A" "$OUTER_B4" $PLAIN_PORT 1 $((SETTLE + SECONDS_EACH + 20))
	load_connected "$NS_B" $LOSSY_BULK_PORT 8 || exit 1
	load_connected "$NS_B" $PLAIN_PORT 1 || exit 1
	sleep $SETTLE
	tunnel=$(received "$NS_B" $LOSSY_BULK_PORT) plain=$(received "$NS_B" $PLAIN_PORT)
	sleep $SECONDS_EACH
	tunnel=$(($(received "$NS_B" $LOSSY_BULK_PORT) - tunnel)) plain=$(($(received "$NS_B" $PLAIN_PORT) - plain))
	[ "$1" = 1 ] || expect "each of two has a tenth of the packets at least" \
		"$(queue 0) / ($(queue 0) + $(queue 1) + 1) - 0.5" '<=' 0.4
	[ "$1" = 1 ] || expect "the other, too" "$(queue 1) / ($(queue 0) + $(queue 1) + 1) - 0.5" '<=' 0.4
	load_stop tunnel
	load_stop plain
	native_stop
	lab_stop
	SHARE=$(awk "BEGIN { printf \"%.1f\", 100 * $tunnel / ($tunnel + $plain) }")
	printf '      %d workers: %.1f and %.1f Mb/s, the tunnel has %s %%\n' "$1" "$(awk "BEGIN { print $tunnel * 8 / ($SECONDS_EACH * 1e6) }")" \
		"$(awk "BEGIN { print $plain * 8 / ($SECONDS_EACH * 1e6) }")" "$SHARE"
}
median() { sort -n | sed -n 3p; }

lossy_networks
one='' two=''
for seed in 1 2 3 4 5; do
	share 1 $seed
	one="$one$SHARE"$'\n'
	share 2 $seed
	two="$two$SHARE"$'\n'
done
one=$(median <<<"${one%$'\n'}") two=$(median <<<"${two%$'\n'}")
expect "share of the tunnel with two workers, beside that with one, %" "$two" '<=' "$one + $POINTS"
expect "and not much less" "$two" '>=' "$one - 2 * $POINTS"
