#!/bin/bash
# profiles: release
# timeout: 120
# takes: 42 s, 1 s of CPU
#
# A translator forgets who is silent for 27 s: a site whose keepalive is `auto` stays reachable behind it without traffic,
# one without keepalive does not. A site that has a public address sends no keepalive.
#
#     C  10.0.2.2 --- nat2  192.0.2.12   forgets after 27 s ___
#     D  10.0.2.3 ---/                                        |__ bridge --- B  192.0.2.2, listens
#     E  192.0.2.14  _________________________________________|
#
#     inside: B 10.99.0.2, C .3, D .4 (keepalive off), E .5
. "$(dirname "$0")/lib_nat.sh"

FORGETS=27
netns_new NS_B b
join "$NS_B" b 192.0.2.2
netns_new NS_E e
join "$NS_E" e 192.0.2.14
netns_new NAT2 nat2
join "$NAT2" nat2 192.0.2.12
netns_new NS_C c
behind "$NAT2" "$NS_C" lan0 10.0.2.1 10.0.2.2
netns_new NS_D d
behind "$NAT2" "$NS_D" lan1 10.0.2.1 10.0.2.3
translate "$NAT2" 192.0.2.12 50000 50999
in_ns "$NAT2" sysctl -q net.netfilter.nf_conntrack_udp_timeout=$FORGETS net.netfilter.nf_conntrack_udp_timeout_stream=$FORGETS

peers=''
for site in c:3 d:4 e:5; do
	native_key ${site%:*} >/dev/null
	peers+="${peers:+, }${site%:*}: {public_key: \"$(native_key ${site%:*})\", allowed_ips: [10.99.0.${site#*:}]}"
	keepalive=auto
	[ ${site%:*} != d ] || keepalive=off
	native ${site%:*} ${site#*:} "session: {keepalive: $keepalive}" \
		"peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"192.0.2.2:29900\"], allowed_ips: [10.99.0.2]}}"
done
native b 2 'listen: ["0.0.0.0:29900"]' "peers: {$peers}"
vpnd_start "$NS_B" "$RUN_DIR/b.yaml" || exit 1
for site in c:NS_C d:NS_D e:NS_E; do
	ns=${site#*:}
	vpnd_start "${!ns}" "$RUN_DIR/${site%:*}.yaml" || exit 1
	joined "${!ns}" 10.99.0.2 || exit 1
done
not() { ! "$@"; }
at() { status b ".peers[] | select(.name == \"$1\") | .endpoint"; }
check "B sees C behind its translator" grep -q '^192\.0\.2\.12:50' <<<"$(at c)"
check "B reaches C while it is fresh" answers "$NS_B" 10.99.0.3
check "B reaches D while it is fresh" answers "$NS_B" 10.99.0.4
record e "$NS_E" wan0 "udp dst port 29900"
before=$EPOCHREALTIME
check "E speaks" answers "$NS_E" 10.99.0.2
since=$EPOCHREALTIME

sleep $((FORGETS + 12)) # a last answer goes 10 s after the last packet
until=$EPOCHREALTIME
check "B reaches C, idle for longer than its translator remembers" answers "$NS_B" 10.99.0.3
check "B does not reach D, which sends no keepalive" not answers "$NS_B" 10.99.0.4
check "D is back as soon as it speaks" joined "$NS_D" 10.99.0.2
check "B reaches it again" answers "$NS_B" 10.99.0.4
check "E speaks again" answers "$NS_E" 10.99.0.2
record_stop e
datagrams list "$RUN_DIR/e.pcap" >"$RUN_DIR/e.list"
of_e() { awk -v from="$1" -v to="$2" '$1 > from && $1 < to' "$RUN_DIR/e.list" | wc -l; }
# The record holds what E sends, at its beginning and at its end.
expect "datagrams of E when it spoke" "$(of_e "$before" "$since")" '>' 0
expect "datagrams of E when it spoke again" "$(of_e "$until" 1e12)" '>' 0
# 10 s after the last packet there is one answer to it, and the search for the path's MTU may go on for some seconds.
expect "datagrams of E, whose address is public, after 14 s of silence" "$(of_e "$(awk "BEGIN { printf \"%.6f\", $since + 14 }")" "$until")" == 0
for site in c d e b; do check "$site ends in order" vpnd_stop $site; done
