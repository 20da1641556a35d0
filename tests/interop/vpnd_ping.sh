#!/bin/bash
# profiles: release asan
# timeout: 150
# takes: 23 s, 4 s of CPU
#
# A host that nobody here wrote, on the packaged kcp-go, is pinged through vpnd: each read of its session is one IP
# packet. Both directions of dialling, both IP versions, whole-mss packets, other FEC and cipher, and a restart of the
# Go end, after which it knows nothing of the conversation that it had.
#
#     one namespace
#     ping - kcp0 10.99.0.1, fd99::1 - vpnd --- UDP on lo --- peer icmp-echo: answers for 10.99.0.2, fd99::2
#
# usage: [PROFILE=asan] tests/interop/vpnd_ping.sh
. "$(dirname "$0")/../netns/lib.sh"

"$ROOT/tests/interop/peer/build" || die "the Go peer does not build"
PEER=$ROOT/build/interop/peer
MSS=1298
GO=''

netns_new NS site

# go_start LOG OPTION...: starts the Go end and waits until it says READY
go_start() {
	local log=$1
	shift
	spawn GO "$NS" "go-$log" "$PEER" icmp-echo "$@"
	wait_for "the Go end is ready" 10 grep -q READY "$RUN_DIR/log/go-$log.log"
}

# go_stop LOG: it must have seen whole IP packets only
go_stop() {
	end_pid "$GO" TERM 5
	local status=$?
	check "the Go end saw whole packets only: $(tail -n 1 "$RUN_DIR/log/go-$1.log")" [ $status -eq 0 ]
}

# site FILE KCP_GO_OPTIONS PEER_LINE [LISTEN]
site() {
	cat >"$RUN_DIR/$1.yaml" <<-YAML
		version: 1
		wire: kcp-go
		kcp_go: {key: it's a secrect, allow_unauthenticated: true, $2}
		interface: {name: kcp0, addresses: [10.99.0.1/24, "fd99::1/64"]}
		listen: [${4:-}]
		session: {dead_after: 3s}
		peers:
		  go:
		    allowed_ips: [10.99.0.2/32, "fd99::2/128"]
		    $3
	YAML
	chmod 600 "$RUN_DIR/$1.yaml"
}

pings() {
	local text=$1
	shift
	ping_stats "$NS" "$@"
	expect "$text: all answered" "$PING_LOST" == 0
}

comes_back() { wait_for "$1" 20 in_ns "$NS" ping -n -c 1 -W 1 10.99.0.2 && pass "$1"; }

all_pings() {
	pings "$1, IPv4" 10.99.0.2 20 -i 0.05 -W 5
	pings "$1, IPv6" fd99::2 20 -i 0.05 -W 5
	pings "$1, $MSS bytes" 10.99.0.2 10 -i 0.05 -W 5 -M 'do' -s $((MSS - 28))
	pings "$1, $MSS bytes, IPv6" fd99::2 10 -i 0.05 -W 5 -M 'do' -s $((MSS - 48))
}

# ---- vpnd dials ----
go_start dialled --listen 127.0.0.1:29900 || exit 1
site dials "crypt: salsa20" "endpoints: [127.0.0.1:29900]"
vpnd_start "$NS" "$RUN_DIR/dials.yaml" || exit 1
all_pings "vpnd dials"
pings "a burst of 200" 10.99.0.2 200 -i 0.002 -W 5
go_stop dialled
go_start redialled --listen 127.0.0.1:29900 || exit 1
comes_back "vpnd dials again after the Go end has restarted"
all_pings "after the restart"
go_stop redialled
check "vpnd leaves in order" vpnd_stop dials

# ---- the Go end dials ----
site listens "crypt: salsa20" "enabled: true" "127.0.0.1:29901"
vpnd_start "$NS" "$RUN_DIR/listens.yaml" || exit 1
go_start dials --dial 127.0.0.1:29901 --inner 10.99.0.2 || exit 1
comes_back "the Go end dials: its opening packet makes the way back known"
all_pings "the Go end dials"
end_pid "$GO" KILL 5
go_start dials_again --dial 127.0.0.1:29901 --inner 10.99.0.2 || exit 1
comes_back "the Go end dials again from another port after a crash"
all_pings "after the crash"
go_stop dials_again
check "vpnd leaves in order" vpnd_stop listens

# ---- other parameters, unequal FEC ----
go_start aes --listen 127.0.0.1:29902 --crypt aes --datashard 3 --parityshard 1 --mode fast3 || exit 1
site aes "crypt: aes, datashard: 10, parityshard: 3, mode: fast2" "endpoints: [127.0.0.1:29902]"
vpnd_start "$NS" "$RUN_DIR/aes.yaml" || exit 1
all_pings "aes, FEC 10/3 here and 3/1 there"
check "vpnd leaves in order" vpnd_stop aes
go_stop aes
