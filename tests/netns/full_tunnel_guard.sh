#!/bin/bash
# timeout: 150
# takes: 24 s, 4 s of CPU
#
# A kill switch against what happens to hosts: a LAN that claims the internet, a packet filter that somebody flushes, starts that
# fail, hundreds of routes, programs that take routes away as fast as they come back, keys that change while it runs, a
# helper that does not answer. lib_tunnel.sh draws it.
. "$(dirname "$0")/lib_tunnel.sh"

KILL=(kill_switch 'dns: {servers: [10.99.0.2]}')
knows() { in_ns "$NS_A" nft list chain inet vpnd-a out | grep -q "$1"; } # a network of the LAN
start_a() { vpnd_start "$NS_A" "$RUN_DIR/a.yaml" && joined "$NS_A" $INTERNET4; }
count_log() { grep -c "$1" "$(vpnd_log a)"; }

# ---- a LAN that claims more than is its own ----
ALLOWED='0.0.0.0/0, "::/0", 10.50.0.0/16' write_a "${KILL[@]}"
in_ns "$NS_B" ip addr add 10.50.1.1/32 dev lo
start_a || exit 1
check "the private network of the LAN is known" knows 10.7.0.0/24
check "that of public addresses is not" [ -z "$(table | grep 192.0.2.0)" ]
in_ns "$NS_A" ip route add 0.0.0.0/1 via $OUTER_B4 proto dhcp
in_ns "$NS_A" ip route add 128.0.0.0/1 via $OUTER_B4 proto dhcp
in_ns "$NS_A" ip route add 203.0.113.0/24 dev wan0 proto dhcp
in_ns "$NS_A" ip route add 10.0.0.0/8 via $OUTER_B4 proto dhcp
in_ns "$NS_A" ip -6 route add ::/1 via $OUTER_B6
in_ns "$NS_A" ip -6 route add 2000::/3 via $OUTER_B6
in_ns "$NS_A" ip addr add 203.0.113.77/4 dev wan0
in_ns "$NS_A" ip addr add 10.50.1.7/24 dev wan0 # a network that peers have
in_ns "$NS_A" ip addr add 10.8.0.1/24 dev wan0
wait_for "the daemon has seen the new LAN" 10 knows 10.8.0.0/24 && pass "the daemon has seen the new LAN"
check "halves of the internet are not let through" [ -z "$(table | grep -E '128\.0\.0\.0|daddr & 240|2000::|203\.0\.113')" ]
watched "a LAN that claims the internet"
check "what peers have is asked in the tunnel" by_tunnel 10.50.1.1
ping_stats "$NS_A" $LAN_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3
ping_stats "$NS_A" $LAN_B6 3 -i 0.1 && expect "that of IPv6, too" "$PING_RECEIVED" == 3
in_ns "$NS_A" ip addr del 203.0.113.77/4 dev wan0
in_ns "$NS_A" ip addr del 10.50.1.7/24 dev wan0
in_ns "$NS_A" ip addr del 10.8.0.1/24 dev wan0
in_ns "$NS_A" ip route flush proto dhcp
in_ns "$NS_A" ip route add default via $OUTER_B4 2>/dev/null
in_ns "$NS_A" ip -6 route del ::/1
in_ns "$NS_A" ip -6 route del 2000::/3

# ---- nft flush ruleset ----
in_ns "$NS_A" nft flush ruleset
wait_for "a flushed filter is put back" 5 table && pass "a flushed filter is put back"
wait_for "the log says so" 5 grep -q 'packet filter of the full tunnel.*put back' "$(vpnd_log a)"
watched "the filter was flushed"
in_ns "$NS_A" nft delete rule inet vpnd-a out handle "$(in_ns "$NS_A" nft -a list chain inet vpnd-a out | awk '$1 == "drop" { print $NF }')"
ends_in_drop() { [ "$(table | awk '/chain out/ { out = 1 } out && NF { last = $0 } /}/ { out = 0 } last !~ /}/ { keep = last } END { print keep }' | tr -d '\t ')" = drop ]; }
wait_for "a rule that somebody removed is put back" 5 ends_in_drop && pass "a rule that somebody removed is put back"
for _ in $(seq 40); do
	in_ns "$NS_A" nft flush ruleset
	sleep 0.02
done
wait_for "after a fight it is there" 5 table && pass "after a fight it is there"
expect "of which the log says little: lines" "$(count_log 'packet filter of the full tunnel')" '<=' 3
check "the tunnel stays" answers "$NS_A" 10.99.0.2

# ---- somebody who takes the route away whenever it comes ----
in_ns "$NS_A" ip addr add 10.9.0.1/24 dev wan0 # what changes of the network do must not help him
in_ns "$NS_A" ip addr del 10.9.0.1/24 dev wan0
own_table=$(in_ns "$NS_A" ip rule | awk '/proto 201/ && /lookup [0-9]/ { for (i = 1; i < NF; i++) if ($i == "lookup") { print $(i + 1); exit } }')
before=$(count_log 'put back')
# shellcheck disable=SC2016
spawn rival "$NS_A" rival bash -c 'while sleep 0.02; do ip route flush table "$0" && ip addr add 10.9.0.1/24 dev wan0 && ip addr del 10.9.0.1/24 dev wan0; done 2>/dev/null' "$own_table"
sleep 5
end_pid "$rival" KILL 2
expect "in 5 s it was put back a few times, not hundreds" $(($(count_log 'put back') - before)) '<=' 5
in_ns "$NS_A" ip addr del 10.9.0.1/24 dev wan0 2>/dev/null
check "the rules stand all the same" [ -n "$(in_ns "$NS_A" ip rule | grep prohibit)" ]
check "down" ctl a down
check "it ends in order" vpnd_stop a
restored "after what others did"

# ---- keys that change while it runs ----
write_a "${KILL[@]}"
start_a || exit 1
count_rules() { in_ns "$NS_A" ip rule | grep -c 'proto 20'; }
rules=$(count_rules)
write_a "${KILL[@]}" 'routes: {protocol: 202}'
sed -i 's/name: kcp0/name: kcp5/; s/identity: {/identity: {name: other, /' "$RUN_DIR/a.yaml"
ctl a reload >"$RUN_DIR/said" 2>&1
expect "reload with another interface, name and number" $? == 0
for key in interface.name identity.name routes.protocol; do
	check "it says that $key takes a restart" grep -q "$key takes effect at the next restart" "$RUN_DIR/said"
done
expect "no rule is there twice" "$(count_rules)" == "$rules"
check "nor a table" [ "$(in_ns "$NS_A" nft list tables | wc -l)" = 1 ]
all_answer "the tunnel carries on" "$NS_A" $INTERNET4 5 -i 0.05
if in_ns "$NS_A" ip link set kcp0 name kcp7 2>/dev/null; then
	all_answer "also when somebody renames its device" "$NS_A" $INTERNET4 5 -i 0.05
fi
check "down lifts all of it" ctl a down
check "it ends in order" vpnd_stop a
restored "down after such a reload"
write_a "${KILL[@]}"
start_a || exit 1
kill_both
write_a route 'routes: {protocol: 202}'
start_a || exit 1
check "rules of another number do not outlast a start that wants none" [ -z "$(in_ns "$NS_A" ip rule | grep prohibit)" ]
check "it ends in order" vpnd_stop a
restored "another number after a crash"

# ---- many routes ----
routes() { # FIRST LAST: no two of them can be put together
	for ((i = $1; i < $2; i++)); do printf 'route add 10.%d.%d.0/24 dev wan0\n' $((128 + i / 128)) $((i % 128 * 2)); done |
		in_ns "$NS_A" ip -batch -
}
write_a "${KILL[@]}"
routes 0 300
start_a || exit 1
check "with 300 routes it comes up" knows 10.130.86.0/24
routes 300 2000
crowded() { grep -q 'E-NET-11.*more than' "$(vpnd_log a)"; }
wait_for "what is too much for the filter is told" 20 crowded && pass "what is too much for the filter is told"
in_ns "$NS_A" ip rule del pref "$(in_ns "$NS_A" ip rule | awk '/prohibit/ { print $1 + 0 }')"
prohibits() { in_ns "$NS_A" ip rule | grep -q prohibit; }
wait_for "with 2000 a rule is put back" 20 prohibits && pass "with 2000 a rule is put back"
check "the tunnel stays" answers "$NS_A" $INTERNET4
for ((i = 0; i < 2000; i++)); do printf 'route del 10.%d.%d.0/24 dev wan0\n' $((128 + i / 128)) $((i % 128 * 2)); done |
	in_ns "$NS_A" ip -batch -

# ---- a helper that does not answer when it is told to lift it ----
helper=$(helper)
kill -STOP "$helper"
ctl a down >"$RUN_DIR/said" 2>&1
expect "down says that it is not done" $? '!=' 0
kill -CONT "$helper"
answers_again() { grep -q 'answers again' "$(vpnd_log a)"; }
wait_for "the helper answers again" 10 answers_again
check "down, once more" ctl a down
no_table() { ! table; }
wait_for "now the rules are gone" 10 no_rules && pass "now the rules are gone"
wait_for "and the filter" 5 no_table && pass "and the filter"
check "it ends in order" vpnd_stop a
restored "a helper that was stuck"

# ---- starts that fail hold ----
write_a "${KILL[@]}" 'hooks: {pre_up: [/bin/false]}'
in_ns "$NS_A" timeout 30 "$BIN/vpnd" -c "$RUN_DIR/a.yaml" --control "$RUN_DIR/control/x/control.sock" --state "$RUN_DIR/state" >"$RUN_DIR/said" 2>&1
expect "a pre_up that fails ends the start" $? '!=' 0
watched "the start failed"
check "--release" in_ns "$NS_A" "$BIN/vpnd" --release -c "$RUN_DIR/a.yaml"
restored "--release"
# somebody else has the table: the rules hold all the same
# shellcheck disable=SC2016
spawn owner "$NS_A" owner bash -c '{ echo "add table inet vpnd-a { flags owner; }"; exec sleep 60; } | exec nft -i'
wait_for "somebody has a table of that name" 5 table
in_ns "$NS_A" timeout 30 "$BIN/vpnd" -c "$RUN_DIR/a.yaml" --control "$RUN_DIR/control/x/control.sock" --state "$RUN_DIR/state" >"$RUN_DIR/said" 2>&1
expect "without a packet filter the start fails" $? '!=' 0
check "it says why" grep -q E-NET-11 "$RUN_DIR/said"
check "and what can be held is" grep -qi 'unreach\|prohibit\|denied\|permitted' <<<"$(hops $INTERNET4)"
# shellcheck disable=SC2046
kill $(pgrep -P "$owner")
reap "$owner" 5
wait_for "that table is gone" 5 no_table
check "--release" in_ns "$NS_A" "$BIN/vpnd" --release -c "$RUN_DIR/a.yaml"
restored "--release of half a kill switch"
check "--hold" in_ns "$NS_A" "$BIN/vpnd" --hold -c "$RUN_DIR/a.yaml"
watched "before there is a daemon"
ping_stats "$NS_A" $LAN_B4 3 -i 0.1 && expect "the LAN answers" "$PING_RECEIVED" == 3
write_a "${KILL[@]}"
start_a && pass "the tunnel comes up behind it"
check "it ends in order" vpnd_stop a
echo 'no: sense' >>"$RUN_DIR/a.yaml"
check "--release, whatever is wrong with the file" in_ns "$NS_A" "$BIN/vpnd" --release -c "$RUN_DIR/a.yaml"
restored "--release without a file"
