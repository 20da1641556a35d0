#!/bin/bash
# timeout: 180
# takes: 60 s, 8 s of CPU
#
# What outer packets show and how many there are: transport.dscp, ecn, rate_max, congestion and class, on both wires, seen by the other
# side's packet filter, changed by reload.
#
#     a in $NS_A, dials --- lab, 30 Mb/s, 20 ms --- b in $NS_B: nft counts and marks what comes
. "$(dirname "$0")/lib_sites.sh"

lab_start --rate 30M --queue 150000 --delay 20ms --seed 3
A_KEY=$(native_key a) B_KEY=$(native_key b)
a() { native a 1 'session: {dead_after: 5s}' "$@" \
	"peers: {b: {public_key: $B_KEY, endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]}}"; }
b() { native b 2 'listen: ["[::]:29900"]' 'session: {dead_after: 5s}' "$@" \
	"peers: {a: {public_key: $A_KEY, allowed_ips: [10.99.0.1, \"fd99::1\"]}}"; }
a
b
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
ctl a wait b --timeout 20s || die "a and b are not up"
reload() { # NAME
	ctl "$1" reload >"$RUN_DIR/said" 2>&1 || { cat "$RUN_DIR/said"; fail "reload $1"; }
}

# counting NS: from now on what comes from the other side is counted: all, ect0, ce, ef, af41, plain
counting() {
	in_ns "$1" nft -f - <<-'NFT'
		table inet seen
		delete table inet seen
		table inet seen {
			counter n_all { }
			counter n_ect0 { }
			counter n_ce { }
			counter n_ef { }
			counter n_af41 { }
			counter n_plain { }
			chain in {
				type filter hook input priority 0
				iifname "wan0" meta l4proto udp counter name n_all
				iifname "wan0" ip ecn ect0 counter name n_ect0
				iifname "wan0" ip6 ecn ect0 counter name n_ect0
				iifname "wan0" ip ecn ce counter name n_ce
				iifname "wan0" ip dscp ef counter name n_ef
				iifname "wan0" ip6 dscp ef counter name n_ef
				iifname "wan0" ip dscp af41 counter name n_af41
				iifname "wan0" ip dscp cs0 counter name n_plain
			}
		}
	NFT
}
# look NS: what was counted by now, all at one instant, into SEEN
declare -A SEEN=()
look() {
	local name packets
	while read -r name packets; do
		SEEN[$name]=$packets
	done < <(in_ns "$1" nft -j list table inet seen | jq -r '.nftables[] | .counter // empty | "\(.name[2:]) \(.packets)"')
}
pings() { in_ns "$1" ping -n -q -c 20 -i 0.02 -W 2 "${@:3}" "$2" | sed -nE 's/.* ([0-9]+) received.*/\1/p'; }

# ---- DSCP ----
counting "$NS_B"
expect "pings marked EF inside" "$(pings "$NS_A" 10.99.0.2 -Q 0xb8)" == 20
look "$NS_B"
expect "by default nothing of it shows" "${SEEN[ef]}" == 0
look "$NS_B"
expect "  nor anything else" "${SEEN[plain]}" == "${SEEN[all]}"
a 'transport: {dscp: 34}'
reload a
counting "$NS_B"
expect "pings with transport.dscp: 34" "$(pings "$NS_A" 10.99.0.2 -Q 0xb8)" == 20
look "$NS_B"
expect "all that comes is AF41" "${SEEN[af41]}" == "${SEEN[all]}"
look "$NS_B"
expect "  and something came" "${SEEN[af41]}" ">=" 5
a 'transport: {dscp: inherit}'
reload a
counting "$NS_B"
expect "pings with transport.dscp: inherit" "$(pings "$NS_A" 10.99.0.2 -Q 0xb8)" == 20
look "$NS_B"
expect "what is EF inside is EF outside" "${SEEN[ef]}" ">=" 5
counting "$NS_B"
expect "IPv6 pings of no class" "$(pings "$NS_A" fd99::2)" == 20
look "$NS_B"
expect "and what is not is not" "${SEEN[ef]}" == 0

# ---- ECN ----
look "$NS_B"
expect "what carries data may be marked" "${SEEN[ect0]}" ">=" 5
a 'transport: {ecn: false}'
reload a
counting "$NS_B"
counting "$NS_A"
expect "pings with transport.ecn: false" "$(pings "$NS_A" 10.99.0.2)" == 20
look "$NS_B"
expect "no more" "${SEEN[ect0]}" == 0
look "$NS_A"
expect "until another handshake the other side goes on" "${SEEN[ect0]}" ">=" 5
vpnd_stop a
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
ctl a wait b --timeout 20s || fail "a is not up again"
counting "$NS_A"
expect "pings of a that never wanted it" "$(pings "$NS_A" 10.99.0.2)" == 20
look "$NS_A"
expect "then neither side" "${SEEN[ect0]}" == 0
a
vpnd_stop a
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
ctl a wait b --timeout 20s || fail "a is not up again"

on_the_way() { # STATEMENT: to what comes to b and may be marked
	in_ns "$NS_B" nft -f - <<-NFT || die "nft does not take the rule"
		table inet way
		delete table inet way
		table inet way {
			chain in {
				type filter hook prerouting priority -300
				iifname "wan0" ip ecn ect0 $1
			}
		}
	NFT
}
# From now on nothing that may be marked comes to b, although packets do.
unmarked() {
	counting "$NS_B"
	pings "$NS_A" 10.99.0.2 >/dev/null
	look "$NS_B"
	[ "${SEEN[ect0]}" = 0 ] && [ "${SEEN[ce]}" = 0 ] && [ "${SEEN[all]}" -ge 20 ]
}
on_the_way 'ip ecn set ce'
pings_start marked "$NS_A" 10.99.0.2
counting "$NS_B"
marks_come() { look "$NS_B" && [ "${SEEN[ce]}" -ge 20 ]; }
wait_for "marks come to b" 20 marks_come
check "marks on everything are told of, found strange and given up" seconds_until 60 unmarked
pings_stop marked
expect "nothing was lost by it" "$PINGS_LOST" "<=" 5
on_the_way drop
vpnd_stop a
vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
check "a box that drops what may be marked does not keep the tunnel down" ctl a wait b --timeout 20s
check "it does drop" [ "$(pings "$NS_A" 10.99.0.2)" -lt 20 ]
pings_start dropped "$NS_A" 10.99.0.2
seconds_until 40 answers "$NS_A" 10.99.0.2
expect "but not data for long" "${TOOK:-99}" "<=" 40
pings_stop dropped
all_answer "all passes then" "$NS_A" 10.99.0.2 50 -i 0.02
in_ns "$NS_B" nft delete table inet way

# ---- rate_max ----
a 'transport: {rate_max: 1M}'
reload a
tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 5 || fail "no transfer"
expect "rate_max: 1M" "$TCP_MBPS" "<=" 1.03
a
reload a
faster() { tcp_transfer cubic "$NS_A" "$NS_B" 10.99.0.2 3 >/dev/null && awk "BEGIN { exit !($TCP_MBPS > 1.3) }"; }
seconds_until 40 faster # on a busy machine more than one turn is needed
expect "and none again: $TCP_MBPS Mb/s" "${TOOK:-99}" "<=" 40

# ---- congestion ----
a 'transport: {rate_max: 5M, congestion: fixed}'
reload a
expect "congestion: fixed: the rate is rate_max" "$(status a '.peers[0].rate_bps')" == 5000000
a 'transport: {rate_max: 5M, congestion: fixed}' 'session: {dead_after: 6s}'
sed -i 's/rate_max: 5M, //' "$RUN_DIR/a.yaml"
if ctl a reload >"$RUN_DIR/said" 2>&1; then fail "congestion: fixed without rate_max is taken"; fi
check "without rate_max it is refused, and says why" grep -q 'transport.congestion: fixed: .*rate_max' "$RUN_DIR/said"
a 'transport: {rate_max: 4M, congestion: auto}'
reload a
expect "congestion: auto: it is what the path was measured to carry" "$(status a '.peers[0].rate_bps // 0')" "<=" 4000000
a
reload a

# ---- class ----
# lost NAME: of 300 pings, 50 a second, over 100 ms and 10 % of loss: how many never came back
lab_ctl set both loss=10% delay=50ms
lost() { ping_through "$NS_A" 10.99.0.2 300 -i 0.01 -s 100; LOST=$PING_LOST; }
for class in auto reliable; do
	a "transport: {class: $class}" 'fec: {mode: off}'
	b "transport: {class: $class}" 'fec: {mode: off}'
	reload a
	reload b
	lost
	if [ $class = auto ]; then
		expect "class auto: what would come late is given up" "$LOST" ">=" 1
	else
		expect "class reliable: nothing is" "$LOST" == 0
	fi
done
vpnd_stop a
vpnd_stop b
lab_ctl set both loss=20% delay=20ms
for class in auto datagram; do
	network a 1 "transport: {class: $class}" 'peers: {b: {endpoints: ["192.0.2.2:29900"], allowed_ips: [10.99.0.2]}}'
	network b 2 'listen: ["192.0.2.2:29900"]' "transport: {class: $class, dscp: 46}" 'peers: {a: {allowed_ips: [10.99.0.1]}}'
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
	vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || exit 1
	check "kcp-go wire, class $class: up" joined "$NS_A" 10.99.0.2
	counting "$NS_A"
	lost
	if [ $class = auto ]; then
		expect "  nothing is lost: all goes in order" "$LOST" == 0
	else
		expect "  urgent packets go out of band, each once" "$LOST" ">=" 50
	fi
	look "$NS_A"
	expect "  its DSCP" "${SEEN[ef]}" == "${SEEN[all]}"
	vpnd_stop a
	vpnd_stop b
done
