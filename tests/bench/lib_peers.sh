# shellcheck shell=bash
# Tunnels to compare, each brought up between $NS_A and $NS_B, whose outer devices reach each other. Sources
# tests/netns/lib_sites.sh. Used by the benches of lossy links and of speed.
#
#   PEER_start, PEER_stop        brings the peer up, 1 if it does not come; ends it. PEER_start sets:
#       PEER_TO, PEER_PORT       where a client in A reaches what listens in B on $BULK_PORT
#       PEER_LIGHT               the arguments of light_flow that say the same of $LIGHT_PORT
#       PEER_DEVICE              the device in B out of which packets come; '' for a forwarder of connections
#       PEER_PIDS_A, PEER_PIDS_B, PEER_PIDS   its processes in A, in B, both
#     none                       no tunnel
#     wireguard-go, fastd, fastd-umac, openvpn, nebula, kcptun
#     native, native-fec, native-sodium, kcp-go              vpnd: native wire; with FEC fixed 10/3; its ciphers by
#                                libsodium alone; kcp-go wire with the cipher and FEC of kcptun here
#   peer_version PEER            what is measured: package version, kernel, or checksum of vpnd
#   kcptun_options               the caller's: prints more options for both kcptun, of their windows at least
#   cpu_seconds PID...           of these processes and all below them, which may have parted with privileges
#   resident_kb PID...           the same of their resident memory
#   inner_bytes                  that came out of the tunnel in B, with their IP headers; nothing for a forwarder
#   iperf_connected FLOWS        true once the flows to B and their control connection are there
#   iperf_intervals LOG FLOWS    the intervals of an iperf3 log, "from to sec N UNIT KBITS Kbits/sec ..."
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib_sites.sh"

BULK_PORT=5201 LIGHT_PORT=5299
PEER_TO='' PEER_PORT='' PEER_LIGHT=() PEER_PIDS=() PEER_PIDS_A=() PEER_PIDS_B=() PEER_DEVICE=''

peer_version() {
	case $1 in
	none) uname -r ;;
	native* | kcp-go)
		printf '%.12s\n' "$(sha256sum "$BIN/vpnd" | cut -d ' ' -f 1)"
		;;
	*) dpkg-query -W -f '${Version}\n' "${1%-umac}" 2>/dev/null || echo '?' ;;
	esac
}

peer_packets() { # ADDRESS DEVICE [PID_IN_A PID_IN_B]: what carries packets
	PEER_TO=$1 PEER_PORT=$BULK_PORT PEER_DEVICE=$2
	PEER_PIDS_A=(${3:+"$3"}) PEER_PIDS_B=(${4:+"$4"})
	PEER_PIDS=(${3:+"$3" "$4"})
	PEER_LIGHT=(udp "$NS_A" "$PEER_TO" "$LIGHT_PORT" "$NS_B" "$PEER_TO" "$LIGHT_PORT")
	seconds_until 20 answers "$NS_A" "$PEER_TO"
}
peer_end() { # what is not vpnd
	local pid
	for pid in "${PEER_PIDS[@]}"; do end_pid "$pid" TERM 5; done
	PEER_PIDS=() PEER_PIDS_A=() PEER_PIDS_B=()
}
# A device of the same name in A and B is two devices; what they leave in /run is named by it, and must be ours.
peer_device() { printf '%s%s\n' "$1" "$(($$ % 1000000))"; }
device_up() { in_ns "$1" ip link show dev "$2" up 2>/dev/null | grep -q .; }
address_device() { # NS DEVICE N
	seconds_until 10 in_ns "$1" ip link show dev "$2" || return 1
	in_ns "$1" ip address add "10.98.0.$3/24" dev "$2" && in_ns "$1" ip link set "$2" up
}

none_start() { peer_packets "$OUTER_B4" wan0; }
none_stop() { :; }

# ---- wireguard-go ------------------------------------------------------------------------------------------------
wireguard_end() { # NS DEVICE N PORT: one end without its peer
	local pid
	spawn pid "$1" "wireguard-$3" env LOG_LEVEL=error wireguard-go -f "$2"
	PEER_PIDS+=("$pid")
	seconds_until 10 test -S "/var/run/wireguard/$2.sock" || return 1
	wg genkey >"$RUN_DIR/$2.key"
	in_ns "$1" wg set "$2" private-key "$RUN_DIR/$2.key" listen-port "$4" && address_device "$1" "$2" "$3"
}
wireguard-go_start() {
	local a=wgl$$a b=wgl$$b
	PEER_PIDS=()
	(umask 077 && : >"$RUN_DIR/$a.key" && : >"$RUN_DIR/$b.key")
	wireguard_end "$NS_A" "$a" 1 51820 && wireguard_end "$NS_B" "$b" 2 51820 || return 1
	in_ns "$NS_A" wg set "$a" peer "$(wg pubkey <"$RUN_DIR/$b.key")" allowed-ips 10.98.0.2/32 \
		endpoint "$OUTER_B4:51820"
	in_ns "$NS_B" wg set "$b" peer "$(wg pubkey <"$RUN_DIR/$a.key")" allowed-ips 10.98.0.1/32
	peer_packets 10.98.0.2 "$b" "${PEER_PIDS[@]}"
}
wireguard-go_stop() {
	peer_end
	rm -f "/var/run/wireguard/wgl$$a.sock" "/var/run/wireguard/wgl$$b.sock"
}

# ---- fastd: TUN, the inner MTU that fills an outer one of 1500 ----------------------------------------------------
fastd_end() { # NS NAME N METHOD OTHER_KEY [REMOTE]
	local pid
	printf '%s\n' 'mode tun;' "interface \"$(peer_device fd)\";" 'mtu 1426;' "method \"$4\";" \
		'bind 0.0.0.0:29910;' "secret \"$(cat "$RUN_DIR/fastd-$2.secret")\";" 'log level warn;' \
		"peer \"other\" { key \"$5\"; ${6:+remote $6 port 29910;} }" >"$RUN_DIR/fastd-$2.conf"
	spawn pid "$1" "fastd-$2" fastd --config "$RUN_DIR/fastd-$2.conf"
	PEER_PIDS+=("$pid")
	address_device "$1" "$(peer_device fd)" "$3"
}
fastd_pair() { # METHOD
	local name
	local -A key=()
	PEER_PIDS=()
	for name in a b; do
		(umask 077 && fastd --machine-readable --generate-key >"$RUN_DIR/fastd-$name.secret")
		printf 'secret "%s";\n' "$(cat "$RUN_DIR/fastd-$name.secret")" >"$RUN_DIR/fastd-$name.conf"
		key[$name]=$(fastd --config "$RUN_DIR/fastd-$name.conf" --machine-readable --show-key)
	done
	fastd_end "$NS_B" b 2 "$1" "${key[a]}" && fastd_end "$NS_A" a 1 "$1" "${key[b]}" "$OUTER_B4" || return 1
	peer_packets 10.98.0.2 "$(peer_device fd)" "${PEER_PIDS[1]}" "${PEER_PIDS[0]}"
}
# Of those that encrypt: 560 Mb/s of TCP against 480 with salsa2012+gmac and 460 with salsa2012+umac, where the processor has
# AES instructions.
FASTD_FASTEST=aes128-ctr+umac
fastd_start() { fastd_pair "$FASTD_FASTEST"; }
fastd_stop() { peer_end; }
fastd-umac_start() { fastd_pair salsa2012+umac; }
fastd-umac_stop() { peer_end; }

# ---- kcptun ------------------------------------------------------------------------------------------------------
# kcptun_pair PORT TARGET: from 127.0.0.1 port 1TARGET in A to 127.0.0.1 port TARGET in B, over UDP port PORT
kcptun_pair() {
	local pid options
	read -ra options < <(kcptun_options)
	options+=(--crypt salsa20 --datashard 10 --parityshard 3 --nocomp --quiet)
	spawn pid "$NS_B" "kcptun-server-$1" kcptun-server -l ":$1" -t "127.0.0.1:$2" --key 'a bench' "${options[@]}"
	PEER_PIDS_B+=("$pid")
	spawn pid "$NS_A" "kcptun-client-$1" kcptun-client -l "127.0.0.1:1$2" -r "$OUTER_B4:$1" --key 'a bench' \
		"${options[@]}"
	PEER_PIDS_A+=("$pid")
	PEER_PIDS=("${PEER_PIDS_A[@]}" "${PEER_PIDS_B[@]}")
	seconds_until 10 listens "$NS_A" "1$2"
}
kcptun_start() {
	PEER_PIDS_A=() PEER_PIDS_B=() PEER_DEVICE='' PEER_TO=127.0.0.1 PEER_PORT=1$BULK_PORT
	PEER_LIGHT=(tcp "$NS_A" 127.0.0.1 "1$LIGHT_PORT" "$NS_B" 127.0.0.1 "$LIGHT_PORT")
	kcptun_pair 29900 $BULK_PORT && kcptun_pair 29901 $LIGHT_PORT
}
kcptun_stop() { peer_end; }

# ---- vpnd --------------------------------------------------------------------------------------------------------
vpnd_pair() {
	vpnd_start "$NS_B" "$RUN_DIR/b.yaml" && vpnd_start "$NS_A" "$RUN_DIR/a.yaml" || return 1
	peer_packets 10.99.0.2 kcp0 "$(vpnd_pid a)" "$(vpnd_pid b)"
}
native_mtu_found() { [ "$(status a .interface.mtu)" -ge 1400 ]; }
native_pair() { # [LINE...] of both configurations
	native a 1 "peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}" "$@"
	native b 2 "listen: [\"0.0.0.0:29900\"]" \
		"peers: {a: {public_key: \"$(native_key a)\", allowed_ips: [10.99.0.1]}}" "$@"
	vpnd_pair || return 1
	seconds_until 15 native_mtu_found # as after the first seconds of a tunnel that stays up for days
	return 0
}
vpnd_end_pair() {
	local name
	for name in a b; do
		[ -z "$(vpnd_pid $name)" ] || vpnd_stop $name || fail "vpnd $name ended with $?"
	done
	PEER_PIDS=() PEER_PIDS_A=() PEER_PIDS_B=()
}
native_start() { native_pair; }
native_stop() { vpnd_end_pair; }
native-fec_start() { native_pair 'fec: {mode: fixed, data: 10, parity: 3}'; }
native-fec_stop() { vpnd_end_pair; }
native-sodium_start() {
	local up=0
	export VPND_SEAL=sodium
	native_pair || up=$?
	unset VPND_SEAL
	return $up
}
native-sodium_stop() { vpnd_end_pair; }
kcp-go_start() {
	NETWORK_KCP_GO='mode: fast2, datashard: 10, parityshard: 3'
	network a 1 "peers: {b: {endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2]}}"
	network b 2 "listen: [\"0.0.0.0:29900\"]" "peers: {a: {allowed_ips: [10.99.0.1]}}"
	vpnd_pair
}
kcp-go_stop() { vpnd_end_pair; }

# ---- the rest ----------------------------------------------------------------------------------------------------
openvpn_end() { # NS NAME N OPTION...
	local pid ns=$1 name=$2 n=$3
	shift 3
	spawn pid "$ns" "openvpn-$name" openvpn --dev "$(peer_device ov)" --dev-type tun --topology p2p \
		--ifconfig "10.98.0.$n" "10.98.0.$((3 - n))" --proto udp --port 29920 --cipher AES-256-GCM \
		--data-ciphers AES-256-GCM --cert "$RUN_DIR/openvpn-$name.crt" --key "$RUN_DIR/openvpn-$name.key" \
		--peer-fingerprint "$(cat "$RUN_DIR/openvpn-$((3 - n)).print")" --disable-dco --fast-io --verb 1 "$@"
	PEER_PIDS+=("$pid")
}
openvpn_start() {
	local n name=(- a b)
	PEER_PIDS=()
	for n in 1 2; do
		(umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=${name[n]}" \
			-keyout "$RUN_DIR/openvpn-${name[n]}.key" -out "$RUN_DIR/openvpn-${name[n]}.crt" 2>/dev/null) || return 1
		openssl x509 -in "$RUN_DIR/openvpn-${name[n]}.crt" -noout -fingerprint -sha256 | cut -d = -f 2 \
			>"$RUN_DIR/openvpn-$n.print"
	done
	openvpn_end "$NS_B" b 2 --tls-server --dh none && openvpn_end "$NS_A" a 1 --tls-client --remote "$OUTER_B4" || return 1
	peer_packets 10.98.0.2 "$(peer_device ov)" "${PEER_PIDS[1]}" "${PEER_PIDS[0]}"
}
openvpn_stop() { peer_end; }

nebula_end() { # NS NAME N [HOSTS LINE...]
	local pid ns=$1 name=$2 n=$3 dir=$RUN_DIR/nebula
	shift 3
	nebula-cert sign -ca-crt "$dir/ca.crt" -ca-key "$dir/ca.key" -name "$name" -ip "10.98.0.$n/24" \
		-out-crt "$dir/$name.crt" -out-key "$dir/$name.key" || return 1
	printf '%s\n' "pki: {ca: $dir/ca.crt, cert: $dir/$name.crt, key: $dir/$name.key}" \
		'lighthouse: {am_lighthouse: false, hosts: []}' 'listen: {host: 0.0.0.0, port: 29930}' \
		"tun: {dev: $(peer_device nb), mtu: 1440}" 'logging: {level: error}' \
		'firewall: {outbound: [{port: any, proto: any, host: any}], inbound: [{port: any, proto: any, host: any}]}' \
		"$@" >"$dir/$name.yaml"
	spawn pid "$ns" "nebula-$name" nebula -config "$dir/$name.yaml"
	PEER_PIDS+=("$pid")
}
nebula_start() {
	PEER_PIDS=()
	rm -rf "$RUN_DIR/nebula"
	(umask 077 && mkdir "$RUN_DIR/nebula") &&
		nebula-cert ca -name bench -out-crt "$RUN_DIR/nebula/ca.crt" -out-key "$RUN_DIR/nebula/ca.key" &&
		nebula_end "$NS_B" b 2 "static_host_map: {10.98.0.1: [\"$OUTER_A4:29930\"]}" &&
		nebula_end "$NS_A" a 1 "static_host_map: {10.98.0.2: [\"$OUTER_B4:29930\"]}" || return 1
	peer_packets 10.98.0.2 "$(peer_device nb)" "${PEER_PIDS[1]}" "${PEER_PIDS[0]}"
}
nebula_stop() { peer_end; }

# ---- the figures -------------------------------------------------------------------------------------------------

# stat_sum WHAT PID...: WHAT is an expression of awk over the fields of /proc/PID/stat without the name, summed
stat_sum() {
	local what=$1
	shift
	[ $# -gt 0 ] || {
		echo 0
		return
	}
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ (.*) / /' | awk -v roots="$*" '
		{ parent[$1] = $3; value[$1] = '"$what"' }
		END {
			n = split(roots, root, " ")
			for (i = 1; i <= n; i++) ours[root[i]] = 1
			do {
				more = 0
				for (pid in parent)
					if (!(pid in ours) && (parent[pid] in ours)) more = ours[pid] = 1
			} while (more)
			for (pid in ours) sum += value[pid]
			printf "%.10g\n", sum
		}'
}
cpu_seconds() { stat_sum "(\$13 + \$14 + \$15 + \$16) / $(getconf CLK_TCK)" "$@"; }
resident_kb() { stat_sum "\$23 * $(($(getconf PAGESIZE) / 1024))" "$@"; }

inner_bytes() { in_ns "$NS_B" ip -s -j link show dev "$PEER_DEVICE" 2>/dev/null | jq -r '.[0].stats64.rx.bytes'; }

# Without the summary at the end.
iperf_intervals() {
	# A line of dashes stands between the intervals of several flows, and before the heading of the summary.
	awk -v flows="$2" '
		/^- - / { dashes = 1; next }
		/^\[ *ID\]/ && dashes { exit }
		{ dashes = 0 }
		/Kbits\/sec/ && (flows == 1) == !/^\[SUM\]/ { sub(/^\[[^]]*\]/, ""); sub(/-/, " "); print }' "$1"
}

iperf_connected() {
	[ "$(in_ns "$NS_B" ss -Htn state established "sport = :$BULK_PORT" | wc -l)" -gt "$1" ]
}
