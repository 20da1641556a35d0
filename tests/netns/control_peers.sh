#!/bin/bash
# timeout: 150
#
# Peers that come and go by order, probes, events, metrics, schemas: the verbs of kcpctl that change or watch a running
# network, on the native wire.
#
#     hub in $NS_A: listens                               sites b and c in $NS_B: dial
#     10.99.0.1 - 192.0.2.1 --- lab, RTT 20 ms --- 192.0.2.2 - b 10.99.0.2, 10.72.0.0/16 behind it
. "$(dirname "$0")/lib_sites.sh"

lab_start --rate 50M --queue 200000 --delay 10ms --seed 7
HUB=$RUN_DIR/hub.yaml
B_KEY=$(native_key b)
HUB_KEY=$(native_key hub)
# A home of its own, so that peers.d is nobody else's.
native hub 1 'listen: ["192.0.2.1:29900"]' 'session: {dead_after: 4s}'
native b 2 'session: {dead_after: 4s}' \
	"peers: {hub: {public_key: $HUB_KEY, endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"

# says TEXT STATUS REGEX ARGUMENT...: runs kcpctl for the hub; its exit status, and what it says on either channel
says() {
	local text=$1 want=$2 regex=$3
	shift 3
	ctl hub "$@" >"$RUN_DIR/said" 2>&1 </dev/null
	expect "$text: exit status" $? == "$want"
	[ -z "$regex" ] || grep -qE -- "$regex" "$RUN_DIR/said" || { fail "$text: it does not say $regex"; cat "$RUN_DIR/said"; }
}
route_there() { [ -n "$(in_ns "$NS_A" ip route show "$1" dev kcp0)" ]; }
generation() { status hub .config.generation; }

vpnd_start "$NS_A" "$HUB" || exit 1
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1

# ---- watch begins ----
spawn watcher - watch "$BIN/kcpctl" --control "$RUN_DIR/control/hub/control.sock" watch --json
wait_for "a watch tells the states first" 5 grep -q '"event":"network","name":"hub","state":"up","was":null' "$RUN_DIR/log/watch.log"

# ---- peer add, at run time ----
says "peer list of nobody" 0 'no peers' peer list
says "peer add without a key" 5 'public_key' peer add b --allowed-ips 10.99.0.2
says "peer add of a bad key" 5 'base64|key' peer add b --public-key abc --allowed-ips 10.99.0.2
says "peer add of nonsense" 5 'allowed_ips' peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2/64
says "a text that would be YAML stays a text" 5 'allowed_ips' peer add b --public-key "$B_KEY" --allowed-ips $'10.99.0.2]\n    enabled: false #'
expect "nothing of these is there" "$(status hub '.peers | length')" == 0
says "peer add" 0 'peer b added' peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2,10.72.0.0/16 --allowed-ips fd72::/48
says "peer add again" 0 'already, nothing to do' peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2,10.72.0.0/16,fd72::/48
says "peer add with other settings" 1 'E-PEER-1' peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2
says "an overlap" 5 'overlap' peer add x --public-key "$HUB_KEY" --allowed-ips 10.72.3.0/24
check "its route is there" route_there 10.72.0.0/16
says "wait b" 0 '' wait b
joined "$NS_B" 10.99.0.1
check "in JSON" [ "$(ctl hub peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2,10.72.0.0/16,fd72::/48 -o json | jq .changed)" = false ]

# ---- a network as large as half the world takes a file ----
says "peer add with a huge network" 0 'E-PEER-4 peer big: .*as large as /1' peer add big --public-key "$(native_key big)" --allowed-ips 128.0.0.0/1
check "no such route" [ -z "$(in_ns "$NS_A" ip route show 128.0.0.0/1)" ]
says "peer del" 0 'peer big removed' peer del big
says "peer del again" 0 'nothing to do' peer del big

# ---- reload and run-time peers ----
was=$(generation)
says "reload leaves it" 0 'nothing changed' reload
expect "generation" "$(generation)" == "$was"
check "b is still there" answers "$NS_B" 10.99.0.1
sed -i 's/dead_after: 4s/dead_after: 5s/' "$HUB"
says "an edited file is not taken over by an order" 1 'E-PEER-5' peer add y --public-key "$(native_key y)" --allowed-ips 10.99.0.9
says "reload --dry-run" 0 'setting +session.dead_after' reload --dry-run
says "reload" 0 '' reload
says "then it works" 0 'peer y added' peer add y --public-key "$(native_key y)" --allowed-ips 10.99.0.9
says "peer del y" 0 'removed' peer del y

# ---- --save ----
says "a preshared key needs --save" 2 '--save' peer add z --preshared-key-file "$RUN_DIR/psk"
"$BIN/kcpctl" key psk "$RUN_DIR/psk"
says "peer add --save" 0 "peer z added, $RUN_DIR/peers.d/z.yaml" peer add z --public-key "$(native_key z)" \
	--endpoint 192.0.2.9:29900 --allowed-ips 128.0.0.0/2 --preshared-key-file "$RUN_DIR/psk" --save
check "the file is there" grep -q 'allowed_ips: \["128.0.0.0/2"\]' "$RUN_DIR/peers.d/z.yaml"
check "it names the preshared key's file" grep -q "preshared_key_file: $RUN_DIR/psk" "$RUN_DIR/peers.d/z.yaml"
check "a route that a file names is made" route_there 128.0.0.0/2
says "a reload finds nothing new" 0 'nothing changed' reload
says "config show has it" 0 'z:' config show "$HUB"
says "peer add --save that is refused" 5 'overlap' peer add w --public-key "$(native_key w)" --allowed-ips 10.72.1.0/24 --save
check "leaves no file" [ ! -e "$RUN_DIR/peers.d/w.yaml" ]
says "peer del without --save" 0 'removed' peer del z
check "the file stays" [ -e "$RUN_DIR/peers.d/z.yaml" ]
says "a reload brings it back" 0 'added +z' reload
says "peer del --save" 0 'removed' peer del z --save
check "the file is gone" [ ! -e "$RUN_DIR/peers.d/z.yaml" ]
check "so is the route" [ -z "$(in_ns "$NS_A" ip route show 128.0.0.0/2)" ]
says "a reload finds nothing new" 0 'nothing changed' reload
says "peer add b --save of one that is there" 0 'already' peer add b --public-key "$B_KEY" --allowed-ips 10.99.0.2,10.72.0.0/16,fd72::/48 --save
says "it belongs to the file from now on" 0 'nothing changed' reload
printf '# mine\npeers:\n  q: {public_key: %s}\n' "$(native_key q)" >"$RUN_DIR/peers.d/q.yaml"
says "reload" 0 'added +q' reload
says "peer del --save of a file that somebody wrote" 1 'E-PEER-2' peer del q --save
check "it stays" [ -e "$RUN_DIR/peers.d/q.yaml" ]
rm "$RUN_DIR/peers.d/q.yaml"
says "reload" 0 'removed +q' reload
sed -i 's/^version: 1$/version: 1\ninclude: [others.d\/*.yaml]/' "$HUB"
says "--save into a folder that is not read" 1 'E-PEER-3' peer add v --public-key "$(native_key v)" --save
check "leaves no file" [ ! -e "$RUN_DIR/peers.d/v.yaml" ]
sed -i '/^include:/d' "$HUB"

# ---- ping ----
says "ping" 0 'b: seq=1 time=[0-9.]+ ms' ping b -c 3
check "and sums up" grep -qE '^3 sent, 3 answered, 0 % lost, path mtu [0-9]+$' "$RUN_DIR/said"
says "ping with a size" 0 '1 answered' ping b -c 1 -s 1200
says "ping with a size that the daemon never sends" 2 'E-PING-3' ping b -c 1 -s 1473
in_ns "$NS_A" ip link set wan0 mtu 1400
says "ping with a size that the way does not carry" 8 'E-PING-2' --timeout 4s ping b -c 1 -s 1420
in_ns "$NS_A" ip link set wan0 mtu 1500
says "ping with a size that cannot be" 2 'E-PING-3' ping b -c 1 -s 95
says "ping of nobody" 6 'no peer' ping nobody
check "ping in JSON" [ "$(ctl hub ping b -c 1 -s 1000 -o json | jq -c '[.seq, .size, .rtt_ms >= 20, .path_mtu > 1200]')" = '[1,1000,true,true]' ]
says "peer down" 0 '' down b
says "ping of a peer that is down" 1 'E-PING-1' ping b
says "peer up" 0 '' up b --wait

# ---- watch told it ----
told() { grep -q -- "$1" "$RUN_DIR/log/watch.log"; }
wait_for "that b came up again" 5 told '"event":"peer","name":"b","state":"up","was":"' && pass "a watch tells changes"
check "that b was added" told '"event":"added","name":"b"'
check "that b was up" told '"event":"peer","name":"b","state":"up","was":'
check "that b was down" told '"event":"peer","name":"b","state":"down","was":"up"'
check "that peers were removed" told '"event":"removed","name":"z","state":null'
check "that configurations changed" told '"event":"config","name":"hub"'
check "each line is JSON" jq -e . "$RUN_DIR/log/watch.log" >/dev/null
says "watch, for people" 8 'network hub: up' --timeout 500ms watch

# ---- log -f ----
spawn follower - follow "$BIN/kcpctl" --control "$RUN_DIR/control/hub/control.sock" log -f --lines 1
wait_for "log -f shows the last line" 5 test -s "$RUN_DIR/log/follow.log"
says "down b" 0 '' down b
wait_for "and what comes" 5 grep -q 'peer b: down by order' "$RUN_DIR/log/follow.log" && pass "log -f follows"
says "up b" 0 '' up b --wait

# ---- machines ----
ctl hub metrics >"$RUN_DIR/metrics"
expect "metrics: exit status" $? == 0
check "promtool accepts them" promtool check metrics <"$RUN_DIR/metrics" || true
check "a peer's bytes" grep -qE '^vpnd_peer_receive_bytes_total\{network="hub",peer="b"\} [1-9]' "$RUN_DIR/metrics"
check "its state" grep -qE '^vpnd_peer_state\{network="hub",peer="b",state="up"\} 1$' "$RUN_DIR/metrics"
ctl hub config schema --status >"$RUN_DIR/status.schema"
ctl hub status --json >"$RUN_DIR/status.json"
validate() { python3 - "$@" <<'PYTHON'
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
jsonschema.validate(json.load(open(sys.argv[2])), schema)
PYTHON
}
check "the status is what its schema says" validate "$RUN_DIR/status.schema" "$RUN_DIR/status.json"
ctl b status --json >"$RUN_DIR/b.json"
check "the other side's, too" validate "$RUN_DIR/status.schema" "$RUN_DIR/b.json"
jq '.peers[0].rtt_ms = "fast"' "$RUN_DIR/status.json" >"$RUN_DIR/wrong.json"
if validate "$RUN_DIR/status.schema" "$RUN_DIR/wrong.json" 2>/dev/null; then fail "a wrong type is taken"; else pass "a wrong type is not"; fi
jq 'del(.interface.mtu)' "$RUN_DIR/status.json" >"$RUN_DIR/wrong.json"
if validate "$RUN_DIR/status.schema" "$RUN_DIR/wrong.json" 2>/dev/null; then fail "a missing key is taken"; else pass "a missing key is not"; fi
extra() { jq -n --slurpfile d "$RUN_DIR/status.json" --slurpfile s "$RUN_DIR/status.schema" \
	'($d[0] | keys) - ($s[0].properties | keys) + (($d[0].peers[0] | keys) - ($s[0].properties.peers.items.properties | keys)) | length'; }
expect "keys that the schema does not know" "$(extra)" == 0
ctl hub config schema >"$RUN_DIR/config.schema"
ctl hub config show -o json "$HUB" >"$RUN_DIR/hub.json"
check "the configuration is what its schema says" validate "$RUN_DIR/config.schema" "$RUN_DIR/hub.json"
ctl hub config show --effective -o json "$HUB" >"$RUN_DIR/hub.effective.json"
check "with all defaults, too" validate "$RUN_DIR/config.schema" "$RUN_DIR/hub.effective.json"
check "and tells a default" [ "$(jq -r .log.level "$RUN_DIR/hub.effective.json")" = info ]

check "the hub ends in order" vpnd_stop hub
check "b ends in order" vpnd_stop b
