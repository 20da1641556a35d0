#!/bin/bash
# timeout: 120
# takes: 40 s, 2 s of CPU
#
# Hooks: when they run, with what, as whom, and what happens if they fail or hang. And pieces of the configuration in
# files of their own, which come and go by a reload.
#
#     A  10.99.0.1 kcp0 - vpnd - wan0 192.0.2.1 --- lab --- 192.0.2.2 wan0 - vpnd - kcp0 10.99.0.2  B
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 2ms --seed 3
b_key=$(native_key b) a_key=$(native_key a) c_key=$(native_key c)
cat >"$RUN_DIR/hook" <<EOF
#!/bin/bash
{
	printf '%s' "\$VPND_HOOK"
	for arg in "\$@"; do printf ' <%s>' "\$arg"; done
	printf ' %s\n' "\$VPND_NETWORK|\$VPND_INTERFACE|\$VPND_ADDRESSES|\$VPND_PEER|\$VPND_ENDPOINT|\$(id -u)"
} >>$RUN_DIR/ran
EOF
chmod 755 "$RUN_DIR/hook"
HOOKS="hooks: {pre_up: [$RUN_DIR/hook, one two, \"\$HOME; id\", \"\"], up: [$RUN_DIR/hook], down: [$RUN_DIR/hook]"
HOOKS+=", peer_up: [$RUN_DIR/hook], peer_down: [$RUN_DIR/hook]}"
write_a() { native a 1 "peers: {b: {public_key: $b_key, endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}" 'session: {dead_after: 3s}' "$@"; }
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {a: {public_key: $a_key, allowed_ips: [10.99.0.1]}}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
touch "$RUN_DIR/ran"
ran() { grep -c "^$1 " "$RUN_DIR/ran"; }
has_run() { [ "$(ran "$1")" = "$2" ]; }
ran_in_time() { wait_for "$1 runs ($2)" 8 has_run "$1" "$2" && pass "$1 runs ($2)"; }

write_a "$HOOKS"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
tail='a|kcp0|10.99.0.1/24 fd99::1/64'
check "pre_up gets its arguments as they stand, by no shell" \
	grep -qxF "pre_up <one two> <\$HOME; id> <> $tail|||0" "$RUN_DIR/ran"
ran_in_time up 1
ran_in_time peer_up 1
check "peer_up knows who and where" grep -qxF "peer_up $tail|b|$OUTER_B4:29900|0" "$RUN_DIR/ran"
spawn asking "$NS_A" asking ping -n -q -i 0.2 10.99.0.2 # silence counts while something waits for an answer
vpnd_kill b
ran_in_time peer_down 1
check "peer_down knows who" grep -qxF "peer_down $tail|b||0" "$RUN_DIR/ran"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
ran_in_time peer_up 2
end_pid "$asking" TERM 2
check "down" ctl a down
ran_in_time peer_down 2
ran_in_time down 1
check "up" ctl a up
ran_in_time pre_up 2
ran_in_time up 2
check "it ends in order" vpnd_stop a
expect "down has run before the daemon ended" "$(ran down)" == 2
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
ran_in_time up 3
vpnd_kill a
ran_in_time down 3
check "no process is left" [ -z "$(pgrep -f "$BIN/vpnd -c $RUN_DIR/a.yaml")" ]

# ---- failures ----
write_a 'hooks: {pre_up: [/bin/sh, -c, "echo reason >&2; exit 3"]}'
in_ns "$NS_A" timeout 40 "$BIN/vpnd" -c "$RUN_DIR/a.yaml" --control "$RUN_DIR/control/a/control.sock" >"$RUN_DIR/said" 2>&1
expect "a pre_up that fails: exit status" $? == 1
check "it says which" grep -q 'E-HOOK-1.*pre_up.*3' "$RUN_DIR/said"
check "and what the program said" grep -q '^reason' "$RUN_DIR/said"
check "nothing is left" [ -z "$(in_ns "$NS_A" ip -o link show kcp0 2>/dev/null)" ]
write_a 'hooks: {up: [/nonexistent/program], peer_up: [/bin/sh, -c, "echo $$ >'"$RUN_DIR"'/sleeper; sleep 100 & echo $! >>'"$RUN_DIR"'/sleeper; wait"]}'
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2
wait_for "one that is not there is a warning" 20 grep -q 'hooks.up: /nonexistent/program ended with 127' "$(vpnd_log a)" &&
	pass "one that is not there is a warning"
wait_for "one that hangs has begun" 5 test -s "$RUN_DIR/sleeper"
all_answer "nobody waits for it" "$NS_A" 10.99.0.2 20 -i 0.01
check "nor do orders" timeout 2 "$BIN/kcpctl" --control "$RUN_DIR/control/a/control.sock" status >"$RUN_DIR/said"
killed() { grep -q 'took more than 10 s' "$(vpnd_log a)"; }
wait_for "after 10 s it is killed" 14 killed && pass "after 10 s it is killed"
alive=0
while read -r pid; do
	state=$(awk '/^State/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
	[ -z "$state" ] || [ "$state" = Z ] || alive=$((alive + 1))
done <"$RUN_DIR/sleeper"
expect "with all it started: left" $alive == 0

check "it ends in order" vpnd_stop a

# ---- more changes than programs can be run: nobody waits, and the scripts learn how it is in the end ----
cat >"$RUN_DIR/slow" <<EOF
#!/bin/sh
echo "\$VPND_HOOK" >>$RUN_DIR/slow.ran
case \$VPND_HOOK in peer_*) sleep 4 ;; esac
EOF
chmod 755 "$RUN_DIR/slow"
write_a "hooks: {pre_up: [$RUN_DIR/slow], down: [$RUN_DIR/slow], peer_up: [$RUN_DIR/slow], peer_down: [$RUN_DIR/slow]}"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2
slow_ran() { [ "$(grep -c "^$1$" "$RUN_DIR/slow.ran")" -ge "$2" ]; }
wait_for "peer_up has begun" 8 slow_ran peer_up 1
for _ in $(seq 30); do
	ctl a down b >/dev/null && ctl a up b >/dev/null || fail "a peer goes down and up"
done
joined "$NS_A" 10.99.0.2
ctl a down b >/dev/null
is_last() { [ "$(tail -n 1 "$RUN_DIR/slow.ran")" = "$1" ]; }
wait_for "in the end they hear of the last change" 40 is_last peer_down && pass "in the end they hear of the last change"
check "nothing was lost on the way" sh -c "! grep -E 'E-HOOK|could not be' '$(vpnd_log a)'"
expect "of 61 changes were run" "$(grep -c '^peer_' "$RUN_DIR/slow.ran")" '<' 10
ctl a up b >/dev/null
wait_for "and of the next" 20 is_last peer_up && pass "and of the next"
check "down" ctl a down
check "up" ctl a up
in_between() { grep -v peer_ "$RUN_DIR/slow.ran" | tail -n 2 | tr '\n' ' ' | grep -q 'down pre_up'; }
check "pre_up waits for down, and not for peers" in_between
joined "$NS_A" 10.99.0.2
seconds_until 20 vpnd_stop a
expect "the end waits for none of them, s" "${TOOK:-99}" '<' 12
check "but for down" is_last down
write_a "hooks: {up: [/bin/true]}"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1

# ---- as whom: the worker has no rights, and neither it nor the helper may run anything ----
check "the runner is the helper's child, and a helper runs nothing itself" \
	[ "$(cat "/proc/$(pgrep -P "$(pgrep -P "$(vpnd_pid a)")")/comm")" = vpnd-runner ]
ctl a reload >/dev/null
write_a "$HOOKS"
ctl a reload >"$RUN_DIR/said" 2>&1
expect "reload with other hooks" $? == 0
check "it says that this takes a restart" grep -q 'hooks.up takes effect at the next restart' "$RUN_DIR/said"
check "it ends in order" vpnd_stop a

# ---- peers in files of their own ----
mkdir "$RUN_DIR/peers.d" "$RUN_DIR/more"
native a 1
cat >"$RUN_DIR/peers.d/b.yaml" <<EOF
peers: {b: {public_key: $b_key, endpoints: ["$OUTER_B4:29900"], allowed_ips: [10.99.0.2]}}
EOF
chmod 600 "$RUN_DIR/peers.d/b.yaml"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 && pass "a peer of peers.d is there"
cat >"$RUN_DIR/peers.d/c.yaml" <<EOF
peers: {c: {public_key: $c_key, endpoints: ["$OUTER_B4:29999"], allowed_ips: [10.98.0.0/16]}}
EOF
chmod 600 "$RUN_DIR/peers.d/c.yaml"
ctl a reload >"$RUN_DIR/said"
check "a file that came is a peer that was added" grep -q 'added.*c' "$RUN_DIR/said"
check "with its route" [ -n "$(in_ns "$NS_A" ip route show 10.98.0.0/16 dev kcp0)" ]
echo 'peers: {d: {public_key: nonsense}}' >"$RUN_DIR/peers.d/d.yaml"
ctl a reload >"$RUN_DIR/said" 2>&1
expect "a bad one: exit status" $? == 5
check "it is named, with its line" grep -q 'peers.d/d.yaml:1:' "$RUN_DIR/said"
rm "$RUN_DIR/peers.d/d.yaml" "$RUN_DIR/peers.d/c.yaml"
ctl a reload >"$RUN_DIR/said"
check "a file that went is a peer that was removed" grep -q 'removed.*c' "$RUN_DIR/said"
mv "$RUN_DIR/peers.d/b.yaml" "$RUN_DIR/more/"
echo 'include: [more/*.yaml]' >>"$RUN_DIR/a.yaml"
check "include names another folder" ctl a reload
all_answer "the session stayed" "$NS_A" 10.99.0.2 10 -i 0.01
check "it ends in order" vpnd_stop a
