#!/bin/bash
# timeout: 90
# profiles: release
#
# What the README promises a newcomer: its six commands and its two files, as they stand there, with keys made here in place of
# the example's, join an office and a branch.
#
#     office in $NS_A, 203.0.113.7 ═══ emulated link, RTT 60 ms ═══ 203.0.113.20, branch in $NS_B
. "$(dirname "$0")/lib_sites.sh"
# lib.sh has addresses of its own.
OUTER_A4=203.0.113.7 OUTER_B4=203.0.113.20
README=$ROOT/README.md

section() { awk -v title="## $1" '/^## / { in_it = $0 == title } in_it' "$README"; }
section 'Two sites, on real hosts' >"$RUN_DIR/walk"
check "the README has the walk-through" test -s "$RUN_DIR/walk"
mapfile -t commands < <(sed -n 's/^    \$ //p' "$RUN_DIR/walk" | awk '!seen[$0]++')
upto=0
for i in "${!commands[@]}"; do
	[[ ${commands[$i]} != ping* ]] || { upto=$((i + 1)); break; }
done
expect "commands from nothing to a ping" "$upto" '<=' 6
expect "of which there is a ping" "$upto" '>=' 1
# The parts of this repository that they name.
check "scripts/package-deb is there" test -x "$ROOT/${commands[0]}"
check "the package's name is what it makes" [ "${commands[1]##*/}" = "kcpvpn_$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")-1_amd64.deb" ]
unit=$(section 'Two sites, on real hosts' | sed -n 's|.*→ /lib/systemd/system/\(.*\)\.$|\1|p')
check "the unit that is enabled is there" test -e "$ROOT/configs/systemd/$unit.in"

# ---- its files ----
for n in 1 2; do
	site=$([ $n = 1 ] && echo office || echo branch)
	mkdir "$RUN_DIR/$site"
	awk -v n=$n '/^    version: 1$/ { at++ } at == n && /^    / { print substr($0, 5); next } at == n { exit }' "$RUN_DIR/walk" \
		>"$RUN_DIR/$site/office.yaml"
	"$BIN/kcpctl" key gen "$RUN_DIR/$site/office.key" >"$RUN_DIR/$site/public" || fail "kcpctl key gen at the $site"
	check "it prints a public half as the README's" grep -qE '^[A-Za-z0-9+/]{43}=$' "$RUN_DIR/$site/public"
	"$BIN/vpnd" --check -c "$RUN_DIR/$site/office.yaml" >"$RUN_DIR/said" 2>&1
	expect "the $site's file loads as it stands: exit status" $? == 0 || cat "$RUN_DIR/said"
done
printed=$(grep -oE '^    [A-Za-z0-9+/]{43}=$' "$RUN_DIR/walk" | tr -d ' ')
told=$(grep -oE '`[A-Za-z0-9+/]{43}=`' "$RUN_DIR/walk" | tr -d '`')
check "the branch's file has the key that the office printed" grep -q "public_key: $printed\$" "$RUN_DIR/branch/office.yaml"
check "the office's has the branch's" grep -q "public_key: $told\$" "$RUN_DIR/office/office.yaml"
sed -i "s|$printed|$(cat "$RUN_DIR/office/public")|" "$RUN_DIR/branch/office.yaml"
sed -i "s|$told|$(cat "$RUN_DIR/branch/public")|" "$RUN_DIR/office/office.yaml"

# ---- and the rest ----
netns_new NS_A office
netns_new NS_B branch
lab_start --delay 30ms
start() { # NS SITE: as the unit does, each with folders of its own
	spawn "VPND_OF_$2" "$1" "$2" env "STATE_DIRECTORY=$RUN_DIR/state/$2" "$BIN/vpnd" -c "$RUN_DIR/$2/office.yaml" \
		--control "$RUN_DIR/control/$2/office/control.sock"
	wait_for "the $2's daemon answers" 20 at "$2" status
}
at() { "$BIN/kcpctl" --control "$RUN_DIR/control/$1/office/control.sock" "${@:2}"; }
mkdir -p "$RUN_DIR"/{control,state}/{office,branch}
start "$NS_A" office
start "$NS_B" branch
at branch up --wait >/dev/null || fail "the branch joins the office"
ping_through "$NS_B" 10.40.0.1 2
expect "answers to ping -c 2 10.40.0.1" "$PING_RECEIVED" == 2
at branch status >"$RUN_DIR/status"
shape() { sed -E 's/up .* kcp/up T kcp/; s/[0-9.]+ [KMGT]?B/N B/g; s/[0-9][0-9.]*/N/g; s/ +/ /g' | grep -E '^(office|PEER) '; }
section 'Two sites, on real hosts' | sed -n 's/^    //p' | sed -n '/^\$ sudo kcpctl status/,$p' | shape >"$RUN_DIR/want"
shape <"$RUN_DIR/status" | sed 's/(derived)/(probed)/' >"$RUN_DIR/got"
check "status looks as in the README" diff -u "$RUN_DIR/want" "$RUN_DIR/got"
check "down" at branch down -q
check "up" at branch up --wait -q

# ---- troubleshooting ----
in_ns "$NS_A" nft -f - <<'NFT'
table inet filter {
	chain input { type filter hook input priority 0; policy drop; ct state established accept; }
}
NFT
in_ns "$NS_A" "$BIN/kcpctl" --control "$RUN_DIR/control/office/office/control.sock" doctor >"$RUN_DIR/doctor" 2>&1
expect "doctor with a firewall in the way: exit status" $? == 1
section 'If it does not work' | sed -n 's/^    \(problem  E-DOC-5  *\)\(.*\)/\1\2/p' >"$RUN_DIR/want"
expect "lines that the README has of it" "$(wc -l <"$RUN_DIR/want")" '>=' 1
check "it says them" [ -z "$(grep -vxFf "$RUN_DIR/doctor" "$RUN_DIR/want")" ] || cat "$RUN_DIR/doctor"
in_ns "$NS_A" nft flush ruleset
for code in $(section 'If it does not work' | grep -oE 'E-[A-Z]+-[0-9]+' | sort -u); do
	check "$code has a help" "$BIN/kcpctl" help "$code" >/dev/null
done
for site in office branch; do
	pid=VPND_OF_$site
	end_pid "${!pid}" TERM 15
	expect "the $site's daemon ends: exit status" $? == 0
done
[ "$FAILURES" = 0 ]
