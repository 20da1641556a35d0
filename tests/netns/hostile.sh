#!/bin/bash
# timeout: 120
#
# Strangers at the listening port, and peers with other settings. The tunnel goes on, what is wrong is counted, and
# memory does not grow.
#
#     site A: dials, FEC 10/3           site B: listens on 29900, FEC 20/10
#     10.99.0.1 - 192.0.2.1 --- lab --- 192.0.2.2 - 10.99.0.2
#     192.0.2.66: a stranger on site A's side with a mind of his own
. "$(dirname "$0")/lib_sites.sh"

lab_start --delay 1ms --seed 9
in_ns "$NS_A" ip addr add 192.0.2.66/24 dev wan0
NETWORK_KCP_GO='datashard: 10, parityshard: 3'
network a 1 "session: {dead_after: 12s}" "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
NETWORK_KCP_GO='datashard: 20, parityshard: 10'
network b 2 "listen: [\"0.0.0.0:29900\"]" "session: {dead_after: 12s}" 'peers:' '  a: {allowed_ips: [10.99.0.1]}' \
	'  c: {allowed_ips: [10.99.0.3]}'
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
spawn dump "$NS_B" capture tcpdump -n -U -i wan0 -c 40 -w "$RUN_DIR/seen.pcap" 'udp dst port 29900'
wait_for "tcpdump listens" 10 grep -q 'listening on' "$RUN_DIR/log/capture.log"
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
joined "$NS_A" 10.99.0.2 || exit 1

# FEC of the two ends differs: each follows what it sees of the other.
lab_ctl set both loss=5% >/dev/null
all_answer "unequal FEC, 5 % loss" "$NS_A" 10.99.0.2 200 -i 0.01
# A bare path has some FEC groups to learn from: each end knows the other's shards now.
fec_in() { status "$1" '.peers[0].fec.in | "\(.code) \(.window) \(.rate * 10 | round)"'; }
check "A has found out B's 20/10" [ "$(fec_in a)" = "rs 20 5" ]
check "B has found out A's 10/3" [ "$(fec_in b)" = "rs 10 3" ]
recovered() { status "$1" '.peers[0].fec.recovered'; }
expect "A rebuilt packets" "$(recovered a)" '>' 0
expect "B rebuilt packets" "$(recovered b)" '>' 0
lab_ctl set both loss=0 >/dev/null

# bad_checksums NAME: datagrams of which the status says that they failed the checksum
bad_checksums() { status "$1" '.warnings[]' | sed -nE 's/^([0-9]+) datagrams failed the checksum.*/\1/p'; }
check "nothing wrong was counted so far" [ -z "$(bad_checksums b)" ]

# Random bytes of every length; pieces and damaged copies of true datagrams; from one port and from thousands.
cat >"$RUN_DIR/strangers.py" <<'PYTHON'
import random, socket, sys
random.seed(4)
host, seen = sys.argv[1], [bytes.fromhex(line) for line in open(sys.argv[2])]
target = (host, 29900)
def sender():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("192.0.2.66", 0))
    return s
one, sent = sender(), 0
def send(data, s=one):
    global sent
    sent += 1
    s.sendto(data, target)
for size in list(range(0, 200)) + list(range(200, 1473, 7)):
    for _ in range(4):
        send(random.randbytes(size))
for data in seen:
    for cut in range(0, len(data), 1 + len(data) // 40):
        send(data[:cut])
    for _ in range(20):
        damaged = bytearray(data)
        for _ in range(random.choice((1, 2, 30))):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        send(bytes(damaged))
for _ in range(1000):
    s = sender()
    send(random.randbytes(random.randrange(1, 1400)), s)
    s.close()
print(sent)
PYTHON

# True datagrams, as somebody on the way sees them: the first ones that A ever sent.
reap "$dump" 10
tcpdump -n -r "$RUN_DIR/seen.pcap" -x 2>/dev/null | awk '
	/^\t/ { sub(/^\t0x[0-9a-f]+: /, ""); gsub(/ /, ""); hex = hex $0; next }
	{ if (hex != "") print substr(hex, 57); hex = "" }
	END { if (hex != "") print substr(hex, 57) }' >"$RUN_DIR/seen.hex"
expect "datagrams were recorded" "$(wc -l <"$RUN_DIR/seen.hex")" '>=' 30

storm() {
	in_ns "$NS_A" python3 "$RUN_DIR/strangers.py" "$OUTER_B4" "$RUN_DIR/seen.hex" || fail "the stranger's program failed"
}
storm >/dev/null # memory that is taken once, is
before=$(rss_kb b)
bad_before=$(bad_checksums b)
# In the background: the tunnel is in use meanwhile.
storm >"$RUN_DIR/sent" &
stranger=$!
all_answer "pings while strangers send nonsense" "$NS_A" 10.99.0.2 100 -i 0.01
wait $stranger
sent=$(cat "$RUN_DIR/sent")
echo "the stranger sent $sent datagrams"
# Those cut to nothing or to less than a header need no checksum to be refused; a socket's queue may overflow.
expect "what is wrong was counted" "$(bad_checksums b) - $bad_before" '>' "$sent / 2"
expect "no stranger has become a peer: up are" "$(status b '[.peers[] | select(.state | IN("up", "degraded")) | .name] | length')" == 1
if [ "$PROFILE" = release ]; then # a sanitizer keeps freed memory for a while
	expect "memory of B, KiB" "$(rss_kb b)" '<=' "$before + 512"
fi

# The recorded conversation again, from its beginning and from another address, in order and in others: this wire cannot
# tell it from a true one, but the conversation in use is not taken over.
cat >"$RUN_DIR/replay.py" <<'PYTHON'
import random, socket, sys, time
random.seed(5)
seen = [bytes.fromhex(line) for line in open(sys.argv[2])]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.0.2.66", 4321))
for _ in range(50):
    for data in seen:
        s.sendto(data, (sys.argv[1], 29900))
        time.sleep(0.0005)
    random.shuffle(seen)
PYTHON
in_ns "$NS_A" python3 "$RUN_DIR/replay.py" "$OUTER_B4" "$RUN_DIR/seen.hex" &
stranger=$!
all_answer "pings while recorded datagrams come again" "$NS_A" 10.99.0.2 100 -i 0.01
wait $stranger
check "B still sends to A" [ "$(status b '.peers[] | select(.name == "a") | .endpoint' | sed 's/:.*//')" = "$OUTER_A4" ]

# The same while the tunnel is idle: signs of life go each 4 s, so a copy may be believed for a while. It must not last.
sleep 2.5
dialled=$(grep -c 'up at' "$(vpnd_log a)")
timeout 0.3 nsenter "--net=/run/netns/$NS_A" python3 "$RUN_DIR/replay.py" "$OUTER_B4" "$RUN_DIR/seen.hex"
seconds_until 10 answers "$NS_A" 10.99.0.2 -W 0.2
expect "an idle tunnel and a recorded conversation: back after, s" "$TOOK" '<=' 4
expect "the conversation is the same" "$(grep -c 'up at' "$(vpnd_log a)")" == "$dialled"
all_answer "and it goes on" "$NS_A" 10.99.0.2 20 -i 0.01

# ---- peers with other settings, in a namespace of their own ----
netns_new NS_C c
in_ns "$NS_A" ip link add to_c type veth peer name wan0 netns "$NS_C" || die "no veth pair"
in_ns "$NS_A" ip addr add 192.0.3.1/24 dev to_c
in_ns "$NS_A" ip link set to_c up
in_ns "$NS_C" ip addr add 192.0.3.3/24 dev wan0
in_ns "$NS_C" ip link set wan0 up
in_ns "$NS_C" ip route add default via 192.0.3.1
in_ns "$NS_A" sysctl -q net.ipv4.ip_forward=1
in_ns "$NS_B" ip route add 192.0.3.0/24 via "$OUTER_A4"

wrong() { # NAME TEXT
	network "$1" 3 "session: {dead_after: 3s}" "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
	bad_before=$(bad_checksums b)
	vpnd_start "$NS_C" "$RUN_DIR/$1.yaml" || exit 1
	wait_for "$2: counted" 5 counted_more "$bad_before" && pass "$2: counted"
	check "$2: no answer" [ -z "$(in_ns "$NS_C" ping -n -q -c 2 -i 0.1 -W 0.5 10.99.0.2 2>&1 | grep ' [1-9] received')" ]
	check "$2: the peer is not up here" peer_is b c idle
	check "$2: it is connecting over there" peer_is "$1" b connecting
	vpnd_stop "$1"
}
counted_more() { [ "$(bad_checksums b)" -gt "$1" ]; }
NETWORK_KCP_GO='datashard: 20, parityshard: 10'
NETWORK_KEY='another key' wrong c_key "another key"
NETWORK_KCP_GO='crypt: aes, datashard: 20, parityshard: 10' wrong c_aes "another cipher"
NETWORK_KCP_GO='crypt: none' wrong c_none "no cipher"

# Without FEC at one end, with another window and mode: these differ on purpose, and work.
NETWORK_KCP_GO='datashard: 0, parityshard: 0, mode: normal, sndwnd: 64, rcvwnd: 64'
network c 3 "session: {dead_after: 3s}" "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
vpnd_start "$NS_C" "$RUN_DIR/c.yaml" || exit 1
joined "$NS_C" 10.99.0.2 || exit 1
all_answer "a peer without FEC" "$NS_C" 10.99.0.2 50 -i 0.01
all_answer "and the other one beside it" "$NS_A" 10.99.0.2 50 -i 0.01
for name in c a b; do
	check "$name ends in order" vpnd_stop $name
done
