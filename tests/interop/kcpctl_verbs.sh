#!/bin/bash
# timeout: 90
#
# What each verb of kcpctl prints, for people and as JSON, and each exit status, byte for byte against golden/verbs.txt and
# golden/verbs.json.txt: transcripts that a person can read, too. GOLDEN_UPDATE=1 writes them anew: read the diff. The
# daemon is tools/fake_daemon.py, so that every number is known; tests/netns has the real one.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PROFILE=${PROFILE:-release}
BIN=${BIN:-$ROOT/build/$PROFILE}
GOLDEN=$ROOT/tests/interop/golden
DIR=$(mktemp -d /tmp/kcpctl-verbs.XXXXXX) || exit 1
FAILURES=0 DAEMONS=()
unset NO_COLOR KCPCTL_NETWORK
export TZ=UTC LC_ALL=C.UTF-8 TERM=dumb COLUMNS=80

pass() { printf 'PASS  %s\n' "$*"; }
fail() {
	printf 'FAIL  %s\n' "$*"
	FAILURES=$((FAILURES + 1))
}
check() {
	local text=$1
	shift
	if "$@"; then pass "$text"; else fail "$text"; fi
}
finish() {
	local status=$?
	trap - EXIT
	[ ${#DAEMONS[@]} -eq 0 ] || kill "${DAEMONS[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$DIR"
	[ "$FAILURES" -eq 0 ] || status=1
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
for tool in python3 jq; do
	command -v $tool >/dev/null || { fail "$tool is missing; scripts/deps installs it"; exit 1; }
done
[ -x "$BIN/kcpctl" ] || { fail "$BIN/kcpctl is not built"; exit 1; }

CONFIG=$DIR/etc/office.yaml
start() { # NAME [PROTOCOL]
	mkdir -p "$DIR/$1"
	mkfifo "$DIR/$1/ready"
	python3 "$ROOT/tests/interop/tools/fake_daemon.py" "$DIR/$1/sock" "$CONFIG" "${@:2}" >"$DIR/$1/ready" &
	DAEMONS+=($!)
	local line
	read -r -t 20 line <"$DIR/$1/ready"
	[ "$line" = READY ] || { fail "the daemon $1 starts"; exit 1; }
}
mkdir "$DIR/etc"
# A key of its own would have another public half each time.
(umask 077 && printf 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n' >"$DIR/etc/office.key")
cat >"$CONFIG" <<'YAML'
version: 1
identity: {private_key_file: office.key}
interface: {name: kcp0, addresses: [10.40.0.1/24, "fd40::1/64"]}
listen: ["[::]:29900"]
peers:
  branch-2:
    public_key: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
    endpoints: [branch2.example.net:29900]
    allowed_ips: [10.42.0.0/16, "fd42::/48"]
YAML
sed 's/interface:/interfaces:/; s/29900\]/299000]/' "$CONFIG" >"$DIR/etc/bad.yaml"
VERSION=$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")

declare -A SEEN=() # exit statuses
run() { # WORDS...: one entry of the transcript
	printf '$ kcpctl'
	local quoted
	for word in "$@"; do
		quoted=$word
		[[ $word != *[!A-Za-z0-9/._:=,@-]* ]] || quoted="'$word'"
		printf ' %s' "${quoted//$DIR\/etc\//}"
	done
	printf '\n'
	local socket=${SOCKET:-$DIR/office/sock}
	(cd "$DIR/etc" && exec timeout 20 "$BIN/kcpctl" --control "$socket" ${FORMAT:+-o "$FORMAT"} "$@") >"$DIR/out" 2>"$DIR/err" </dev/null
	local status=$?
	cat "$DIR/out"
	sed 's/^/! /' "$DIR/err"
	[ $status -eq 0 ] || printf '(exit %d)\n' $status
	printf '\n'
	SEEN[$status]=1
	if [ "${FORMAT:-}" = json ] && [ $status -eq 0 ]; then
		[ ! -s "$DIR/out" ] || jq -e . "$DIR/out" >/dev/null 2>&1 || printf '%s\n' "$*" >>"$DIR/no-json"
	fi
}
transcript() {
	run up
	run up
	run up branch-2 --wait
	run -q up
	run down lap-mia
	run down
	run status
	run status lap-mia
	run -v status branch-2
	run status --check
	run status branch-2 --check
	run top -c 1
	run --timeout 20s watch
	run wait
	run wait branch-2 --for down
	run ping branch-2 -c 2
	run ping branch-2 -c 1 -s 1200
	run peer list
	run peer show branch-2
	run peer add lap-joe --public-key VWpkLIRplRGdyW4tX4OuUQ0bWyKH3gWGqWkVVdxg21Y= --allowed-ips 10.40.0.103
	run peer add lap-joe --public-key VWpkLIRplRGdyW4tX4OuUQ0bWyKH3gWGqWkVVdxg21Y= --allowed-ips 10.40.0.103
	run peer add lap-eve --public-key VWpkLIRplRGdyW4tX4OuUQ0bWyKH3gWGqWkVVdxg21Y= --allowed-ips 10.40.0.104 --save
	run peer del lap-eve --save
	run peer del lap-joe
	run key pub office.key
	run key gen office.key
	run key gen new.key
	run key psk new.psk
	run config check office.yaml
	run config check bad.yaml
	run config show office.yaml
	[ -z "$FORMAT" ] || run config schema --status
	run reload --dry-run
	run reload
	[ -n "$FORMAT" ] || run metrics # is for a program already
	run log
	run log --lines 1
	run log -f
	run version
	if [ -z "$FORMAT" ]; then
		run completion tcsh
		run help
		run help status
		run help peer
		run help E-CONN-1
		run help E-NO-1
	fi
	# each exit status
	run ping branch-gone                         # 1
	run statsu                                   # 2
	SOCKET=$DIR/nobody run status                # 3
	run down branch-denied                       # 4
	run config check nowhere.yaml                # 5
	run status lap-joes                          # 6
	run status --check                           # 7
	run --timeout 300ms wait branch-silent       # 8
	SOCKET=$DIR/newer/sock run status            # 9
}
# What is another each time: keys that are made, this version, where this test is.
settle() {
	sed -E "s|$DIR|DIR|g; s|${VERSION//./\\.}|VERSION|g; /^\\$ kcpctl key gen new/,/^\$/s|[A-Za-z0-9+/]{43}=|KEY|"
}
compare() { # FILE TEXT
	[ -z "${GOLDEN_UPDATE:-}" ] || cp "$DIR/$1" "$GOLDEN/$1"
	diff -u "$GOLDEN/$1" "$DIR/$1" && pass "$2" || fail "$2"
}
start newer 2
for FORMAT in '' json; do
	rm -f "$DIR"/etc/new.* "$DIR/no-json"
	SEEN=()
	start office
	transcript >"$DIR/said"
	kill "${DAEMONS[-1]}" && wait "${DAEMONS[-1]}" 2>/dev/null
	rm -rf "$DIR/office"
	settle <"$DIR/said" >"$DIR/verbs${FORMAT:+.$FORMAT}.txt"
	compare "verbs${FORMAT:+.$FORMAT}.txt" "each verb, ${FORMAT:-for people}"
	for status in {0..9}; do
		[ -n "${SEEN[$status]:-}" ] || fail "nothing ends with $status"
	done
done
check "with -o json all say JSON" [ ! -s "$DIR/no-json" ] || cat "$DIR/no-json"
check "nothing steers a terminal" sh -c "! LC_ALL=C grep -q '[^ -~]' '$DIR/verbs.txt'"
missing=$("$BIN/kcpctl" help | sed -nE 's/^  ([a-z]+) .*/\1/p' | sort -u | while read -r verb; do
	grep -qE "^\\$ kcpctl (-[a-z-]+ ([0-9a-z]+ )?)*$verb\\b" "$DIR/verbs.txt" || echo "$verb"
done)
# What doctor finds is this machine's; what it prints of that is held by tests/unit/cli.
check "no verb was left out" [ "$missing" = doctor ] || echo "$missing"

# ---- the daemon's command line ----
says() { # TEXT WANT REGEX ARGUMENT...
	local text=$1 want=$2 regex=$3
	shift 3
	"$BIN/vpnd" "$@" >"$DIR/out" 2>&1 </dev/null
	local status=$?
	check "vpnd $text: exit status $want" [ $status = "$want" ] || echo "it is $status"
	[ -z "$regex" ] || check "vpnd $text: it says so" grep -qE "$regex" "$DIR/out" || cat "$DIR/out"
}
says "without anything" 2 '^vpnd: E-VPND-4 give a NAME'
says "with an option that is not there" 2 '^vpnd: E-VPND-4 unknown option "--chek"; did you mean "--check"\?$' --chek "$CONFIG"
says "with a short one" 2 '^vpnd: E-VPND-4 unknown option "-z"$' -z "$CONFIG"
says "without an option's value" 2 '^vpnd: E-VPND-4 --state: the value is missing$' -c "$CONFIG" --state
says "with a value too many" 2 '^vpnd: E-VPND-4 --check=yes: it takes no value$' -c "$CONFIG" --check=yes
says "with two networks" 2 '^vpnd: E-VPND-4 one network' office lab
says "of a good file" 0 '' --check -c "$CONFIG"
says "of a bad file" 5 '^vpnd: E-CFG-3 .*bad.yaml:3:1' --check -c "$DIR/etc/bad.yaml"
says "of no file" 5 '^vpnd: E-CFG-1 ' --check -c "$DIR/etc/nowhere.yaml"
says "--version" 0 "^vpnd $VERSION\$" --version
says "--help" 0 '^usage: vpnd' --help
check "kcpctl help knows that code" grep -q . <("$BIN/kcpctl" help E-VPND-4)
