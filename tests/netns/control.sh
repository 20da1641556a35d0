#!/bin/bash
# timeout: 120
# takes: 25 s, 4 s of CPU
#
# A daemon under control: each verb with its exit status, reload beside traffic, and clients that misbehave.
#
#     hub in $NS_A: listens                               site b in $NS_B: dials
#     10.99.0.1 - 192.0.2.1 --- lab, 20 Mb/s, RTT 10 ms --- 192.0.2.2 - 10.99.0.2, 10.72.0.1
#     peers: b (calls), c (dialled at 192.0.2.9, where nobody is)
. "$(dirname "$0")/lib_sites.sh"

[ -x "$BIN/kcpctl" ] || die "$BIN/kcpctl is not built"
lab_start --rate 20M --queue 100000 --delay 5ms --seed 21
HUB=$RUN_DIR/hub.yaml
SOCKET=$RUN_DIR/control/hub/control.sock
B='b: {allowed_ips: [10.99.0.2, 10.72.0.0/16, "fd72::/48"]}'
C='c: {endpoints: ["192.0.2.9:29900"], allowed_ips: [10.99.0.3, 10.73.0.0/16]}'
hub() { network hub 1 'listen: ["192.0.2.1:29900"]' 'session: {dead_after: 3s}' 'peers:' "${@/#/  }"; }
hub "$B" "$C"
network b 2 'session: {dead_after: 3s}' "peers: {hub: {endpoints: [\"$OUTER_A4:29900\"], allowed_ips: [10.99.0.1]}}"

# says TEXT STATUS REGEX ARGUMENT...: runs kcpctl for the hub; its exit status, and what it says on either channel
says() {
	local text=$1 want=$2 regex=$3
	shift 3
	ctl hub "$@" >"$RUN_DIR/said" 2>&1 </dev/null
	expect "$text: exit status" $? == "$want"
	[ -z "$regex" ] || grep -qE -- "$regex" "$RUN_DIR/said" || { fail "$text: it does not say $regex"; cat "$RUN_DIR/said"; }
}
address_there() { [ -n "$(in_ns "$NS_A" ip -o addr show kcp0 to 10.99.0.1)" ]; }
route_there() { [ -n "$(in_ns "$NS_A" ip route show "$1" dev kcp0)" ]; }
sessions() { grep -c 'peer b: up' "$(vpnd_log hub)"; }
generation() { status hub .config.generation; }

says "no daemon" 3 'E-CONN-1 .*no process' status
vpnd_start "$NS_A" "$HUB" || exit 1
says "a peer that waits to be called: wait" 8 '' --timeout 300ms wait b
says "status --check while c connects" 7 '' status --check
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
says "wait b" 0 '' wait b
says "wait b --for up" 0 '' wait b --for up
says "wait for c, which never comes" 8 '' --timeout 300ms wait c
says "wait for all with endpoints" 8 '' --timeout 300ms wait
says "up --wait likewise" 8 '' --timeout 300ms up --wait
check "pings work" answers "$NS_B" 10.99.0.1

# ---- status ----
says "status" 0 'b +(up|degraded) +192\.0\.2\.2:' status
check "status names the network and the device first" grep -qE '^hub +degraded .*kcp0 +10\.99\.0\.1/24 fd99::1/64' "$RUN_DIR/said"
check "then a table" grep -qE '^PEER +STATE +ENDPOINT' "$RUN_DIR/said"
says "status c" 0 'connecting' status c
check "it shows c alone" [ "$(grep -cE '(^| )b( |$)' "$RUN_DIR/said")" = 0 ]
says "status of a peer that is not there" 6 'no peer.*"?cc' status cc
says "status --check c" 7 '' status c --check
says "status --check b" 0 '' status b --check
ctl hub status --json >"$RUN_DIR/status.json" || fail "status --json"
check "-o json is the same as --json" [ "$(ctl hub -o json status | jq 'keys' | sha256sum)" = \
	"$(jq 'keys' "$RUN_DIR/status.json" | sha256sum)" ]
ctl hub config schema --status >"$RUN_DIR/status.schema"
check "it is what its schema says" python3 -c 'import json, sys, jsonschema
jsonschema.validate(json.load(open(sys.argv[1])), json.load(open(sys.argv[2])))' "$RUN_DIR/status.json" "$RUN_DIR/status.schema"
lacks() { jq -c "[$1] - ($2 | keys)" "$RUN_DIR/status.json"; }
expect_keys() { # TEXT KEYS PATH
	local missing
	missing=$(lacks "$2" "$3")
	check "$1: every key is there" [ "$missing" = '[]' ] || echo "missing: $missing"
}
expect_keys status '"schema","network","version","state","uptime_s","interface","config","peers","warnings"' .
expect_keys interface '"name","ifindex","mtu","mtu_source","addresses","queues","offload","workers"' .interface
expect_keys config '"file","generation"' .config
for n in 0 1; do
	expect_keys "peer $n" '"name","public_key","state","endpoint","last_rx_age_s","handshake_age_s","rtt_ms",
		"rtt_var_ms","path_mtu","loss_raw_in","loss_raw_out","loss_residual_in","queue_ms","aqm_drops","aqm_marks",
		"retransmits","rate_bps","fec","rx_bytes","tx_bytes","rx_packets","tx_packets","drops","allowed_ips",
		"warnings"' ".peers[$n]"
	expect_keys "fec of peer $n" '"out","in","recovered","wasted"' ".peers[$n].fec"
	expect_keys "fec.out of peer $n" '"code","window","rate"' ".peers[$n].fec.out"
	expect_keys "fec.in of peer $n" '"code","window","rate"' ".peers[$n].fec.in"
done
holds() { check "status.json: $1" jq -e "$2" "$RUN_DIR/status.json" >/dev/null; }
holds "schema" '.schema == "kcpctl.status/1" and .network == "hub" and .config.generation == 1'
holds "a peer connects: the network is degraded" '.state == "degraded"'
holds "interface" '.interface | .name == "kcp0" and .mtu == 1298 and .mtu_source == "derived" and .queues == 1 and
	.addresses == ["10.99.0.1/24", "fd99::1/64"] and (.ifindex | type) == "number" and (.offload | type) == "boolean"'
holds "b is up" '.peers[0] | .name == "b" and .state == "up" and .rx_packets > 0 and .tx_packets > 0 and .rtt_ms >= 10 and
	(.endpoint | startswith("192.0.2.2:")) and .allowed_ips == ["10.99.0.2/32", "10.72.0.0/16", "fd72::/48"]'
holds "what this wire cannot know is null" '.peers[0] | .public_key == null and .loss_raw_out == null'
holds "c is not" '.peers[1] | .name == "c" and .state == "connecting" and .rtt_ms == null and .rx_packets == 0'

# ---- the small verbs ----
says "version" 0 '[0-9]+\.[0-9]+\.[0-9]+' version
says "peer list" 0 '^c .*10\.73\.0\.0/16|c +connecting' peer list
says "peer show" 0 'connecting' peer show c
says "log" 0 'network hub is up' log
says "help" 0 'status' help
says "an unknown verb" 2 'did you mean "status"' statsu
says "ping" 0 '2 sent, 2 answered, 0 % lost' ping b -c 2
says "ping with a size, which this wire has not" 2 'E-PING-3' ping b -s 1000
says "ping of a peer that connects" 1 'E-PING-1' ping c
says "top, not in a terminal" 0 '^b +(up|degraded) ' top -c 1
says "metrics" 0 'vpnd_peer_state\{network="hub",peer="c",state="connecting"\} 1' metrics
says "doctor" 0 'the daemon' doctor "$HUB"
says "completion" 0 'complete -F _kcpctl kcpctl' completion bash
says "help of a code" 0 'No daemon listens' help E-CONN-1
says "an unknown option" 2 '' status --frob
says "config check of a good file" 0 '' config check "$HUB"
sed 's/allowed_ips/allowed_ip/' "$HUB" >"$RUN_DIR/bad.yaml"
says "config check of a bad file" 5 'bad\.yaml:[0-9]+:[0-9]+: .*did you mean "allowed_ips"' config check "$RUN_DIR/bad.yaml"
says "config show" 0 'allowed_ips' config show "$HUB"
check "and keeps the key to itself" [ "$(ctl hub config show "$HUB" | grep -c "$NETWORK_KEY")" = 0 ]

# ---- who may ----
mkdir -m 755 "$RUN_DIR/bin"
cp "$BIN/kcpctl" "$RUN_DIR/bin/kcpctl"
setpriv --reuid=65534 --regid=65534 --clear-groups "$RUN_DIR/bin/kcpctl" --control "$SOCKET" down >"$RUN_DIR/said" 2>&1
expect "a stranger may not: exit status" $? == 4
check "and is told what to do" grep -qE 'permission|denied' "$RUN_DIR/said"
check "nothing happened" answers "$NS_B" 10.99.0.1

# ---- down and up, one peer ----
says "down b" 0 '' down b
check "its routes are gone" [ -z "$(in_ns "$NS_A" ip route show 10.72.0.0/16)$(in_ns "$NS_A" ip -6 route show fd72::/48)" ]
check "the others' stay" route_there 10.73.0.0/16
check "it is down" peer_is hub b down
if answers "$NS_B" 10.99.0.1; then fail "what it sends is taken"; else pass "what it sends is dropped"; fi
says "down b again" 0 'already' down b
says "down of a peer that is not there" 6 '' down cc
says "wait b --for down" 0 '' wait b --for down
says "reload leaves it down" 0 '' reload
check "it is still down" peer_is hub b down
says "up b --wait" 0 '' up b --wait
check "its routes are back" route_there 10.72.0.0/16
wait_for "pings work again" 5 answers "$NS_B" 10.99.0.1 && pass "pings work again"

# ---- down and up, the network ----
pid=$(vpnd_pid hub)
index=$(in_ns "$NS_A" ip -j link show kcp0 | jq '.[0].ifindex')
says "down" 0 '' down
check "no address is left" [ -z "$(in_ns "$NS_A" ip -o addr show kcp0)" ]
check "no route" [ -z "$(in_ns "$NS_A" ip route show dev kcp0)" ]
check "the device stays" [ "$(in_ns "$NS_A" ip -j link show kcp0 | jq '.[0].ifindex')" = "$index" ]
says "status while down" 0 'down' status
says "status --check while down" 7 '' status --check
check "network and peers are down" [ "$(status hub '[.state, .peers[].state] | unique | join(" ")')" = down ]
says "down again" 0 'already' down
says "reload while down" 0 '' reload
check "it stays down" [ "$(status hub .state)" = down ]
says "up" 0 '' up
check "the address is back" address_there
check "the routes, too" route_there 10.72.0.0/16
says "up again" 0 'already' up
says "wait b" 0 '' wait b
wait_for "pings work again" 5 answers "$NS_B" 10.99.0.1 && pass "pings work again"
expect "the daemon is the same" "$(vpnd_pid hub)" == "$pid"

# ---- reload beside a transfer ----
head -c 8000000 /dev/urandom >"$RUN_DIR/sent"
spawn server "$NS_A" nc-server sh -c "exec nc -l 5300 >'$RUN_DIR/got'"
wait_for "nc listens" 10 listens "$NS_A" 5300
before=$(sessions)
spawn client "$NS_B" nc-client sh -c "exec timeout 60 nc -N 10.99.0.1 5300 <'$RUN_DIR/sent'"
D='d: {endpoints: ["192.0.2.9:29901"], allowed_ips: [10.99.0.4, 10.74.0.0/16]}'
E='e: {allowed_ips: [10.99.0.5]}'
hub "$B" "$C" "$D" "$E"
was=$(generation)
says "reload --dry-run" 0 'd' reload --dry-run
expect "changes nothing: peers" "$(status hub '.peers | length')" == 2
expect "generation" "$(generation)" == "$was"
says "reload: two more peers" 0 'added +d' reload
check "e is told, too" grep -qE 'added +e' "$RUN_DIR/said"
expect "peers" "$(status hub '.peers | length')" == 4
expect "generation" "$(generation)" == "$((was + 1))"
check "their routes are there" route_there 10.74.0.0/16
hub "$B" "$C" "${D/10.74.0.0/10.75.0.0}"
says "reload: one changed, one gone" 0 'changed +d' reload
check "and what is gone" grep -qE 'removed +e' "$RUN_DIR/said"
expect "peers" "$(status hub '.peers | length')" == 3
check "the old route is gone" [ -z "$(in_ns "$NS_A" ip route show 10.74.0.0/16)" ]
check "the new one is there" route_there 10.75.0.0/16
says "reload without a change" 0 '' reload
was=$(generation)
hub "$B" "$D" 'f: {allowed_ips: [10.99.0.2]}' # overlaps b's
says "reload of a bad file" 5 'hub\.yaml:[0-9]+:[0-9]+: .*overlap' reload
expect "changes nothing: peers" "$(status hub '.peers | length')" == 3
expect "generation" "$(generation)" == "$was"
check "c's route is still there" route_there 10.73.0.0/16
mkdir "$RUN_DIR/peers.d"
hub "$B"
printf 'peers:\n  g: {allowed_ips: [10.99.0.7, 10.77.0.0/16]}\n' >"$RUN_DIR/peers.d/g.yaml"
kill -HUP "$(vpnd_pid hub)"
wait_for "SIGHUP reloads, peers.d is read" 5 route_there 10.77.0.0/16 && pass "SIGHUP reloads, peers.d is read"
check "c's route went with it" [ -z "$(in_ns "$NS_A" ip route show 10.73.0.0/16)" ]
check "the transfer is still going on" is_ours "$client"
reap "$client" 60 || fail "the transfer failed"
reap "$server" 10
check "and every byte arrives" cmp -s "$RUN_DIR/sent" "$RUN_DIR/got"
expect "b's session is the same" "$(sessions)" == "$before"
says "status --check, all that is dialled being up" 0 '' status --check

# What a session rests on changes: it starts anew, and is back.
NETWORK_KCP_GO='crypt: aes' hub "$B"
says "reload: another cipher here" 0 'crypt' reload
if answers "$NS_B" 10.99.0.1; then fail "b speaks another cipher, and is understood"; else pass "b is not understood any more"; fi
hub "$B"
says "reload: the old cipher" 0 '' reload
seconds_until 10 answers "$NS_B" 10.99.0.1 -W 0.2
expect "b is back after, s" "$TOOK" '<=' 6

# A port that is taken: all stays as it was.
spawn holder "$NS_A" holder nc -u -l 29955
wait_for "nc holds a port" 5 sh -c "nsenter --net=/run/netns/$NS_A ss -Hluan 'sport = :29955' | grep -q ."
was=$(generation)
hub "$B"
sed -i 's/listen: .*/listen: ["192.0.2.1:29900", "0.0.0.0:29955"]/; s/10\.72\.0\.0/10.79.0.0/' "$HUB"
says "reload: a port that is taken" 1 '29955' reload
expect "generation" "$(generation)" == "$was"
check "b's route is as it was" route_there 10.72.0.0/16
check "b is still there" answers "$NS_B" 10.99.0.1
end_pid "$holder" TERM 5
says "reload: the port is free now" 0 '' reload
check "it listens on both" [ "$(in_ns "$NS_A" ss -Hluan 'sport = :29955 or sport = :29900' | wc -l)" -ge 2 ]
check "b has not noticed" answers "$NS_B" 10.99.0.1

# ---- clients that misbehave ----
before=$(rss_kb hub)
cat >"$RUN_DIR/clients.py" <<'PYTHON'
import json, random, socket, sys, time
random.seed(6)
def client():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(5)
    return s
def give(data, wait=False):
    s = client()
    try:
        s.sendall(data)
        if wait:
            s.recv(65536)
    except OSError:
        pass # it may hang up on us
    s.close()
if len(sys.argv) > 2:                                     # more than there is room for, and idle
    held = [client() for _ in range(200)]
    print("HELD", flush=True)
    while True:
        time.sleep(100)
for _ in range(100):
    give(random.randbytes(random.randrange(1, 3000)))
give(random.randbytes(300000), True)
give(b'{"jsonrpc":"2.0","id":1,"meth')                    # half a line
give(b'{"jsonrpc":"2.0","id":1,"method":"status"}\n')     # gone before the answer
give(b'[' * 200000 + b'\n', True)
give(b'{"a":' * 5000 + b'\n', True)
give(b'x' * 1000000 + b'\n', True)
give(b'\0' * 1000 + b'\n', True)
for bad in ({}, [], 1, None, {"method": 3}, {"jsonrpc": "2.0", "id": {}, "method": "status"},
        {"jsonrpc": "2.0", "id": 1, "method": "nonsense"}, {"jsonrpc": "2.0", "id": 1, "method": "up", "params": 7},
        {"jsonrpc": "2.0", "id": 1, "method": "down", "params": {"peers": [1]}},
        {"jsonrpc": "2.0", "id": 1, "method": "log", "params": {"lines": -5}},
        {"jsonrpc": "2.0", "id": 10 ** 30, "method": "log", "params": {"lines": 10 ** 30}}):
    give(json.dumps(bad).encode() + b'\n', True)
for _ in range(3):                                        # asks a lot and never reads
    s = client()
    s.settimeout(0.5)
    try:
        for _ in range(20000):
            s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"log"}\n')
    except OSError:
        pass
    s.close()
PYTHON
python3 "$RUN_DIR/clients.py" "$SOCKET" >"$RUN_DIR/clients.out" || fail "the clients' program failed"
says "after them, the daemon answers" 0 '' status
spawn holder - clients python3 "$RUN_DIR/clients.py" "$SOCKET" hold
wait_for "200 clients are there" 20 grep -q HELD "$RUN_DIR/log/clients.log"
says "beside 200 idle clients, root gets an answer" 0 '' status
check "pings still work" answers "$NS_B" 10.99.0.1
expect "b's session is the same as before" "$(status hub '.peers[0].state | IN("up", "degraded")' | grep -c true)" == 1
[ "$PROFILE" != release ] || expect "its memory, KiB" "$(rss_kb hub)" '<=' "$before + 4096"
check "the hub ends in order" vpnd_stop hub
check "b ends in order" vpnd_stop b
