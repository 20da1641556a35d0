#!/bin/bash
# profiles: release
# timeout: 120
#
# Keys that do not fit: nobody gets in, both sides say in `status` what they can know, and who has no business here hears
# nothing: not a byte goes to callers who do not know the public key (or the network key), or whom nobody here knows.
#
#     a  192.0.2.11  everything is right                      \
#     k  192.0.2.12  takes another public key for B's          \
#     n  192.0.2.13  has a network key, B has none              |-- bridge --- B  192.0.2.2, listens
#     u  192.0.2.14  B does not know its key                    |
#     p  192.0.2.15  has another preshared key than B          /
#     o  192.0.2.16  has a preshared key, B has none for it   /
. "$(dirname "$0")/lib_sites.sh"

netns_new NET net
in_ns "$NET" ip link add br0 type bridge
in_ns "$NET" ip link set br0 up
join() { # NAMESPACE NAME ADDRESS: to the bridge
	in_ns "$NET" ip link add "to-$2" type veth peer name wan0 netns "$1" || die "no veth pair"
	in_ns "$NET" ip link set "to-$2" master br0 up
	in_ns "$1" ip addr add "$3/24" dev wan0
	in_ns "$1" ip link set wan0 up
}
netns_new NS_B b
join "$NS_B" b 192.0.2.2
declare -A NS=() ADDRESS=()
n=10
peers=''
for psk in psk1 psk2 psk3 net; do "$BIN/kcpctl" key psk "$RUN_DIR/$psk.key" >/dev/null || exit 1; done
declare -A EXTRA=([p]=", preshared_key_file: psk1.key" [o]=", preshared_key_file: psk3.key") IDENTITY=([n]=", network_key_file: net.key")
for site in a k n u p o; do
	n=$((n + 1))
	netns_new ns $site
	NS[$site]=$ns ADDRESS[$site]=192.0.2.$n
	join "$ns" $site 192.0.2.$n
	native_key $site >/dev/null
	key_b=$(native_key b)
	[ $site != k ] || key_b=$(native_key nobody)
	native $site $n "peers: {b: {public_key: \"$key_b\", endpoints: [\"192.0.2.2:29900\"], allowed_ips: [10.99.0.2]${EXTRA[$site]:-}}}"
	sed -i "s|^identity: {|&${IDENTITY[$site]:+${IDENTITY[$site]#, }, }|" "$RUN_DIR/$site.yaml"
	[ $site = u ] && continue
	psk=''
	[ $site != p ] || psk=', preshared_key_file: psk2.key'
	peers+="${peers:+, }$site: {public_key: \"$(native_key $site)\", allowed_ips: [10.99.0.$n]$psk}"
done
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {$peers}"
record wire "$NS_B" wan0 udp
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
for site in a k n u p o; do vpnd_start "${NS[$site]}" "$RUN_DIR/$site.yaml" || exit 1; done
joined "${NS[a]}" 10.99.0.2 || exit 1

says() { status "$1" '[.peers[].warnings[], .warnings[]] | join("\n")' | grep -qE "$2"; }
of_b() { status b ".peers[] | select(.name == \"$1\") | $2"; }
b_says() { of_b "$1" '.warnings | join("\n")' | grep -qE "$2"; }
told() { # SITE TEXT PATTERN
	wait_for "$1: $2" 20 says "$1" "$3" && pass "$1: its status says: $3"
}
told p "a wrong preshared key" 'its answer does not open: another preshared key'
told o "a preshared key on one side" 'its answer does not open: another preshared key'
told k "a wrong public key" 'no answer: not reachable, or it does not know this public key'
told n "a wrong network key" 'no answer: .* or network key'
told u "a key that B does not know" 'no answer: not reachable, or it does not know this public key'
for site in k n u p o; do
	check "$site is connecting" peer_is $site b connecting
	expect "$site: wait's exit status" "$(timeout 3 "$BIN/kcpctl" --control "$RUN_DIR/control/$site/control.sock" --timeout 1s wait b >/dev/null 2>&1; echo $?)" == 8
	check "$site: nothing passes" [ -z "$(in_ns "${NS[$site]}" ping -n -q -c 1 -W 0.3 10.99.0.2 2>/dev/null | grep ' 1 received')" ]
	wait_for "$site says it in its log" 6 grep -qE 'peer b: (no answer|its answer)' "$(vpnd_log $site)" &&
		pass "$site says it in its log"
done
wait_for "B says that a preshared key does not fit" 10 b_says p 'preshared' && pass "B says that p's preshared key does not fit"
wait_for "B says that a preshared key does not fit" 10 b_says o 'preshared' && pass "B says that o's preshared key does not fit"
check "B says that unknown keys call" says b '[0-9]+ handshakes came from keys that no peer here has'
check "B says that calls are for other keys" says b '[0-9]+ handshakes were made for another public key or network key'
check "B says nothing against a" [ -z "$(of_b a '.warnings[]')" ]
for site in k n p o; do check "for B, $site is idle" peer_is b $site idle; done
check "B's network is up" [ "$(status b .state)" = up ]
for site in k n u p o; do
	for secret in "$RUN_DIR"/psk*.key "$RUN_DIR/net.key" "$RUN_DIR/$site.key"; do
		grep -qF "$(<"$secret")" "$(vpnd_log $site)" && fail "a secret is in the log of $site"
	done
done

# ---- on the wire ----
record_stop wire
datagrams list "$RUN_DIR/wire.pcap" >"$RUN_DIR/list"
from() { awk -v a="${ADDRESS[$1]}" -v t="$2" '$2 == a && $6 ~ t { n++; bytes += $7 } END { print n + 0 }' "$RUN_DIR/list"; }
to() { awk -v a="${ADDRESS[$1]}" -v t="$2" '$4 == a && $6 ~ t { n++ } END { print n + 0 }' "$RUN_DIR/list"; }
for site in k n u; do
	expect "$site called" "$(from $site INIT)" '>=' 4
	expect "$site: datagrams that it was told" "$(to $site .)" == 0
done
for site in p o; do
	expect "$site called" "$(from $site INIT)" '>=' 4
	expect "$site: other answers than RESP" "$(to $site 'COOKIE|REJECT|DATA|INIT|[?]')" == 0
	expect "$site: answers" "$(to $site RESP)" '<=' "$(from $site INIT)"
done
expect "answers that are longer than what they answer" "$(awk '$3 == 29900 && $6 != "DATA" && $7 > 184' "$RUN_DIR/list" | wc -l)" == 0
# Anything at all, to the port: garbage, wrong versions, DATA for no session, INITs whose mac1 is not B's.
record noise "$NS_B" wan0 "udp and host ${ADDRESS[u]}"
vpnd_stop u
in_ns "${NS[u]}" python3 - 192.0.2.2 29900 <<'PYTHON'
import os, random, socket, sys
random.seed(8)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(3000):
    word = bytes([random.choice([8, 9, 10, 11, 12, n & 255]), random.choice([1, 1, 1, 2, 0]), 0, 0])
    size = random.choice([0, 1, 4, 32, 60, 64, 120, 184, 1200, random.randrange(1472)])
    s.sendto((word + os.urandom(size))[:size], (sys.argv[1], int(sys.argv[2])))
PYTHON
sleep 0.3
record_stop noise
expect "datagrams of noise" "$(datagrams list "$RUN_DIR/noise.pcap" | grep -c "^[0-9.]* ${ADDRESS[u]} ")" '>' 2500
expect "answers to noise" "$(datagrams list "$RUN_DIR/noise.pcap" | grep -c '^[0-9.]* 192.0.2.2 ')" == 0
all_answer "a does not notice" "${NS[a]}" 10.99.0.2 20 -i 0.02

# ---- mended without a restart ----
cp "$RUN_DIR/psk2.key" "$RUN_DIR/new.key"
chmod 600 "$RUN_DIR/new.key"
sed -i 's/psk1\.key/new.key/' "$RUN_DIR/p.yaml"
check "p has B's preshared key now: reload" ctl p -q reload
joined "${NS[p]}" 10.99.0.2 && pass "p is in"
check "p says nothing any more" [ -z "$(status p '.peers[0].warnings[]')" ]
check "B says nothing against p any more" [ -z "$(of_b p '.warnings[]')" ]
for site in a k n p o b; do check "$site ends in order" vpnd_stop $site; done
