#!/bin/bash
# timeout: 150
#
# Keys in files: too open modes and keys in the wrong place are refused before anything is touched; other keys behind
# the same paths are taken over by a reload, for this peer alone; a reload that cannot read them changes nothing; and no
# secret is ever shown.
#
#     one  10.99.0.1 -- kcp0 -- vpnd -- wan0 ======= wan0 -- vpnd -- kcp0 -- 10.99.0.2  two
. "$(dirname "$0")/lib_sites.sh"

lab_start --rate 100M --delay 5ms

CREDENTIALS_DIRECTORY=$RUN_DIR/credentials # as a service manager would
export CREDENTIALS_DIRECTORY
mkdir -m 0700 "$CREDENTIALS_DIRECTORY"

peer_one() { echo "  one: {public_key: $(native_key one), allowed_ips: [10.99.0.1, \"fd99::1\"]$1}"; }
peer_two() {
	echo "  two: {public_key: $(native_key two), endpoints: [\"$OUTER_B4:29900\"], allowed_ips: [10.99.0.2, \"fd99::2\"]$1}"
}
write_one() { native one 1 'peers:' "$(peer_two "${1:-}")"; }
write_two() { native two 2 "listen: [\"$OUTER_B4:29900\"]" 'peers:' "$(peer_one "${1:-}")"; }
write_one
write_two

not_answers() { ! answers "$NS_A" "$1"; }
refused() { # TEXT PATTERN: vpnd does not start with one.yaml, nor does a check pass
	local how
	for how in "$BIN/vpnd -c" "$BIN/vpnd --check -c" "$BIN/kcpctl config check"; do
		# shellcheck disable=SC2086
		timeout 10 $how "$RUN_DIR/one.yaml" >"$RUN_DIR/said" 2>&1
		expect "$1: ${how##*/}: exit status" $? == 5
		check "$1: ${how##*/}: it says what to do" grep -qE "$2" "$RUN_DIR/said"
		check "$1: ${how##*/}: the key is not shown" [ "$(grep -cF "$(<"$RUN_DIR/secret")" "$RUN_DIR/said")" = 0 ]
	done
}
cp "$RUN_DIR/one.key" "$RUN_DIR/secret"

# ---- what is refused ----
for mode in 0644 0660 0700; do
	chmod $mode "$RUN_DIR/one.key"
	refused "mode $mode" "E-CFG-21 .*has mode $mode.*chmod 0600 $RUN_DIR/one\.key"
done
chmod 600 "$RUN_DIR/one.key"
sed -i "s|private_key_file: one.key|private_key: $(<"$RUN_DIR/secret")|" "$RUN_DIR/one.yaml"
refused "a key in the configuration" 'E-CFG-17 .*private_key: a secret key has no place in this file\. Move it: \(umask 077;'
write_one
sed -i "s|private_key_file: one.key|private_key_file: $(<"$RUN_DIR/secret")|" "$RUN_DIR/one.yaml"
refused "a key where its file belongs" 'E-CFG-17 .*private_key_file: a secret key has no place'
write_one
sed -i "s|$(native_key two)|$(native_key one)|" "$RUN_DIR/one.yaml"
refused "the own key as a peer's" "peers\.two\.public_key is this host's own"
check "nothing was left behind" [ ! -e /sys/class/net/kcp0 ]

# ---- the key as a credential, and what can be seen of it ----
write_one
cp -p "$RUN_DIR/one.key" "$CREDENTIALS_DIRECTORY/vpnd.key"
sed -i 's|private_key_file: one.key|private_key_file: "credential:vpnd.key"|' "$RUN_DIR/one.yaml"
cp "$RUN_DIR/one.yaml" "$RUN_DIR/one.good"
vpnd_start "$NS_B" "$RUN_DIR/two.yaml"
vpnd_start "$NS_A" "$RUN_DIR/one.yaml"
joined "$NS_A" 10.99.0.2
check "status tells the own public key" [ "$(status one .public_key)" = "$(native_key one)" ]
check "and the peer's" [ "$(status one '.peers[0].public_key')" = "$(native_key two)" ]
{
	ctl one status
	ctl one -v status
	ctl one status two
	ctl one status --json
	ctl one peer list
	ctl one log
	"$BIN/kcpctl" config show --effective "$RUN_DIR/one.yaml"
	cat "$(vpnd_log one)"
} >"$RUN_DIR/shown" 2>&1
check "the public half is shown" grep -qF "$(native_key one)" "$RUN_DIR/shown"
check "the key is not" [ "$(grep -cF "$(<"$RUN_DIR/secret")" "$RUN_DIR/shown")" = 0 ]

# ---- a reload that cannot have the key changes nothing ----
began() { status one '.peers[0].handshake_age_s'; }
chmod 644 "$CREDENTIALS_DIRECTORY/vpnd.key"
ctl one reload >"$RUN_DIR/said" 2>&1
expect "reload with an open key file: exit status" $? == 5
check "it says why" grep -qF 'has mode 0644, a key file at most 0640; use: chmod 0600 "$CREDENTIALS_DIRECTORY"/vpnd.key' "$RUN_DIR/said"
rm "$CREDENTIALS_DIRECTORY/vpnd.key"
ctl one reload >"$RUN_DIR/said" 2>&1
expect "reload without the key file: exit status" $? == 5
check "it says why" grep -qE 'there is no credential vpnd\.key' "$RUN_DIR/said"
all_answer "the tunnel goes on" "$NS_A" 10.99.0.2 5 -i 0.02
cp -p "$RUN_DIR/one.key" "$CREDENTIALS_DIRECTORY/vpnd.key"
before=$(began)
sleep 1
check "reload of the same" ctl one -q reload
expect "the session is the same, seconds" "$(began)" '>' "$before"

# ---- a preshared key: both have it or nothing passes ----
check "a preshared key is made" "$BIN/kcpctl" key psk "$RUN_DIR/both.psk"
write_two ', preshared_key_file: both.psk'
ctl two reload >"$RUN_DIR/said" 2>&1
expect "reload with a preshared key: exit status" $? == 0
check "it says whom it changed" grep -qE '^ +changed +one$' "$RUN_DIR/said"
wait_for "the session ends where only one side has it" 30 peer_is one two connecting
check "nothing passes" not_answers 10.99.0.2
sed '/^  two:/s|}$|, preshared_key_file: both.psk}|' "$RUN_DIR/one.good" >"$RUN_DIR/one.yaml"
check "reload of the other side" ctl one -q reload
joined "$NS_A" 10.99.0.2

# ---- a new key of our own, behind the same path ----
rm "$RUN_DIR/two.key"
native_key two >/dev/null
ctl two reload >"$RUN_DIR/said" 2>&1
expect "reload with another private key: exit status" $? == 0
check "it says so" grep -qE 'identity\.private_key_file: another key' "$RUN_DIR/said"
check "status tells the new public key" [ "$(status two .public_key)" = "$(native_key two)" ]
wait_for "the old public key opens nothing" 30 peer_is one two connecting
old=$(sed -nE 's/.*public_key: ([^,]+),.*/\1/p' "$RUN_DIR/one.yaml")
sed -i "s|$old|$(native_key two)|" "$RUN_DIR/one.yaml"
check "reload with the new public key" ctl one -q reload
joined "$NS_A" 10.99.0.2
for name in one two; do
	vpnd_stop $name
	expect "$name ends in order: exit status" $? == 0
done
