#!/bin/bash
# timeout: 120
# profiles: release
#
# kcpctl where people meet it: `top` in a terminal of its own (tmux), its screen compared with what is kept; completion as the
# shells themselves do it. The daemon is a script, so that every number is known.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PROFILE=${PROFILE:-release}
BIN=${BIN:-$ROOT/build/$PROFILE}
GOLDEN=$ROOT/tests/interop/golden
DIR=$(mktemp -d /tmp/kcpctl-shells.XXXXXX) || exit 1
TMUX_SOCKET=$DIR/tmux
FAILURES=0 DAEMON=''
unset TMUX NO_COLOR KCPCTL_NETWORK
export TERM=xterm-256color

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
tm() { tmux -S "$TMUX_SOCKET" -f /dev/null "$@"; }
finish() {
	trap - EXIT
	tm kill-server 2>/dev/null
	[ -z "$DAEMON" ] || kill "$DAEMON" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$DIR"
	[ "$FAILURES" -eq 0 ]
	exit
}
trap finish EXIT
trap 'exit 130' INT TERM
for tool in tmux python3 zsh fish bash; do
	command -v $tool >/dev/null || { fail "$tool is missing; scripts/deps installs it"; exit 1; }
done
[ -x "$BIN/kcpctl" ] || { fail "$BIN/kcpctl is not built"; exit 1; }

# Each status is a second after the last, whatever the clock says. The sixth takes its time, so that the fifth can be looked at.
cat >"$DIR/daemon.py" <<'PYTHON'
import json, os, socket, sys, threading, time
def peer(name, state, n, rate, **more):
    p = dict(name=name, public_key=None, state=state, enabled=True, endpoint="198.51.100.7:29900", endpoints=[],
        endpoint_moved_age_s=None, last_rx_age_s=1.0, handshake_age_s=9.0, rtt_ms=38.0, rtt_var_ms=1.0, path_mtu=1472,
        loss_raw_in=0.001, loss_raw_out=0.0, loss_residual_in=0.0, queue_ms=3.0, aqm_drops=0, aqm_marks=0, retransmits=5 * n,
        rate_bps=None, fec=dict(out=dict(code="rlc", window=64, rate=0.02), **{"in": dict(code="rlc", window=64, rate=0.11)},
        recovered=0, wasted=0), rx_bytes=sum(rate * (i + 1) for i in range(n)), tx_bytes=n * rate // 4, rx_packets=n, tx_packets=n,
        drops={}, allowed_ips=[], warnings=[])
    p.update(more)
    return p
def document(n):
    return dict(schema="kcpctl.status/1", network="office", version="0.1.0", wire="native", public_key=None, state="degraded",
        uptime_s=273600.0 + n, listen=[], interface=dict(name="kcp0", ifindex=7, mtu=1400, mtu_source="probed", addresses=[],
        queues=1, offload=True), config=dict(file="/etc/vpnd/office.yaml", generation=1), warnings=["something"],
        peers=[peer("branch-2", "up", n, 500000),
            peer("lap-mia", "degraded", n, 2000000, rtt_ms=191.0, loss_raw_in=0.062, loss_raw_out=0.004, loss_residual_in=0.013,
                queue_ms=90.0, endpoint="203.0.113.9:51311"),
            peer("waits\u001b[2J", "idle", 0, 0, endpoint=None, rtt_ms=None, queue_ms=None, loss_raw_in=None, loss_raw_out=None,
                loss_residual_in=None)])
def serve(c):
    n = 0
    for line in c.makefile():
        ask = json.loads(line)
        if ask["method"] == "hello":
            result = dict(protocol=1, daemon="0.1.0", network="office")
        else:
            n += 1
            if n == 6:
                time.sleep(3)
            result = document(n)
        c.sendall((json.dumps(dict(jsonrpc="2.0", id=ask["id"], result=result)) + "\n").encode())
        if os.path.exists(sys.argv[2]):
            os._exit(0)
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(8)
print("READY", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
PYTHON
mkdir -p "$DIR/run"
python3 "$DIR/daemon.py" "$DIR/run/control.sock" "$DIR/end" >"$DIR/ready" &
DAEMON=$!
until_true() { # SECONDS COMMAND...
	local i n=$(($1 * 20))
	shift
	for ((i = 0; i < n; i++)); do
		"$@" && return
		sleep 0.05
	done
	return 1
}
until_true 10 grep -q READY "$DIR/ready" || { fail "the daemon's script starts"; exit 1; }
TOP="exec env LANG=C.UTF-8 LC_ALL=C.UTF-8 $BIN/kcpctl --control $DIR/run/control.sock --color never top"

screen() { tm capture-pane -p -t "$1" | sed 's/ *$//'; }
shows() { screen "$1" | grep -qF -- "$2"; }
golden() { # PANE NAME
	screen "$1" >"$DIR/$2"
	[ -z "${GOLDEN_UPDATE:-}" ] || { mkdir -p "$GOLDEN" && cp "$DIR/$2" "$GOLDEN/$2"; }
	cmp -s "$DIR/$2" "$GOLDEN/$2" && return
	diff -u "$GOLDEN/$2" "$DIR/$2"
	return 1
}
settled() { shows "$1" '20.0 Mb/s'; } # the fifth look

# ---- top ----
tm new-session -d -s wide -x 122 -y 30 "$TOP"
tm new-session -d -s narrow -x 60 -y 24 "$TOP"
tm new-session -d -s ascii -x 80 -y 24 "exec env LANG=C LC_ALL=C $BIN/kcpctl --control $DIR/run/control.sock top"
until_true 15 shows wide 'branch-2' || fail "top draws"
until_true 15 settled wide && check "at 122 columns" golden wide top-122.txt
until_true 15 settled narrow && check "at 60 columns" golden narrow top-60.txt
check "no line is longer than the terminal" [ "$(LC_ALL=C.UTF-8 wc -L <"$DIR/top-60.txt")" -le 60 ]
until_true 15 settled ascii && check "without UTF-8" golden ascii top-ascii.txt
check "without UTF-8 there is none" [ "$(screen ascii | LC_ALL=C grep -c '[^ -~]')" = 0 ]
tm send-keys -t wide s
check "s sorts by rate" until_true 6 shows wide 's sort: rate'
tm send-keys -t wide s
check "s again: by rtt, the slow one first" until_true 3 sh -c "tmux -S '$TMUX_SOCKET' capture-pane -p -t wide | sed -n 2p | grep -q '^lap-mia'"
tm send-keys -t wide r
check "r turns the order" until_true 3 sh -c "tmux -S '$TMUX_SOCKET' capture-pane -p -t wide | sed -n 2p | grep -q '^waits'"
check "and says so" shows wide 'sort: rtt (reversed)'
tm resize-window -t wide -x 70 -y 15
check "another size is drawn at once" until_true 3 sh -c "tmux -S '$TMUX_SOCKET' capture-pane -p -t wide | grep -q '1 more'"
tm send-keys -t narrow q
check "q ends it" until_true 3 sh -c "! tmux -S '$TMUX_SOCKET' has-session -t narrow 2>/dev/null"
# The terminal is as before: what stood there, echo, the cursor.
tm new-session -d -s shell -x 80 -y 24 "exec env PS1='prompt> ' bash --norc --noprofile"
tm send-keys -t shell "echo before; $BIN/kcpctl --control $DIR/run/control.sock top" Enter
until_true 10 shows shell 'branch-2' || fail "top in a shell"
tm send-keys -t shell q
check "after q the shell is there again" until_true 5 shows shell 'prompt>'
tm send-keys -t shell "echo after" Enter
check "with what stood there" until_true 3 sh -c "tmux -S '$TMUX_SOCKET' capture-pane -p -t shell | grep -c before | grep -q 2"
check "echo and cursor" until_true 3 sh -c "tmux -S '$TMUX_SOCKET' capture-pane -p -t shell | grep -q '^after' && [ \$(tmux -S '$TMUX_SOCKET' display -p -t shell '#{cursor_flag}') = 1 ]"
tm send-keys -t shell "clear; $BIN/kcpctl --control $DIR/run/control.sock top" Enter
until_true 10 shows shell 'branch-2'
tm send-keys -t shell C-c
check "Ctrl-C gives it back, too" until_true 5 shows shell 'prompt>'

# ---- plain ----
"$BIN/kcpctl" --control "$DIR/run/control.sock" top -c 2 >"$DIR/plain" 2>&1
check "not a terminal: exit status" [ $? = 0 ]
check "nothing that steers a terminal" [ "$(LC_ALL=C grep -c '[^ -~]' "$DIR/plain")" = 0 ]
[ -z "${GOLDEN_UPDATE:-}" ] || cp "$DIR/plain" "$GOLDEN/top-plain.txt"
check "two looks as tables" diff -u "$GOLDEN/top-plain.txt" "$DIR/plain"
touch "$DIR/end"
"$BIN/kcpctl" --control "$DIR/run/control.sock" top >"$DIR/out" 2>"$DIR/err"
check "a daemon that goes: exit status" [ $? = 1 ]
check "and its error" grep -q 'E-CONN-6' "$DIR/err"

# ---- schemas ----
kcpctl() { "$BIN/kcpctl" "$@"; }
kcpctl config schema >"$DIR/config.schema" || fail "config schema"
for file in "$ROOT"/configs/*.yaml; do
	kcpctl config show -o json "$file" >"$DIR/config.json" 2>/dev/null || { fail "$(basename "$file") is shown"; continue; }
	check "$(basename "$file") is what the schema says" python3 -c 'import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
jsonschema.validate(json.load(open(sys.argv[2])), schema)' "$DIR/config.schema" "$DIR/config.json"
done
unset -f kcpctl

# ---- completion ----
mkdir "$DIR/bin"
cat >"$DIR/bin/kcpctl" <<SH
#!/bin/sh
case "\$*" in *'peer list'*) printf 'PEER  STATE\nbranch-2  up\nlap-mia  idle\n' ;; *) exec $BIN/kcpctl "\$@" ;; esac
SH
chmod +x "$DIR/bin/kcpctl"
PATH=$DIR/bin:$PATH
for shell in bash zsh fish; do kcpctl completion $shell >"$DIR/completion.$shell" || fail "completion $shell"; done
complete_bash() { # WORDS...: what the last one may become
	bash --norc -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kcpctl; printf "%s\n" "${COMPREPLY[@]}"' \
		sh "$DIR/completion.bash" "$@" 2>&1 | sort | tr '\n' ' '
}
offers() { # TEXT WANT WORDS...
	local text=$1 want=$2 got
	shift 2
	got=$(complete_bash "$@")
	[ "$got" = "$want " ] && pass "bash: $text" || fail "bash: $text: $got"
}
offers "verbs" "status" kcpctl stat
offers "second words" "add del list show" kcpctl peer ''
offers "peers" "branch-2 lap-mia" kcpctl status ''
offers "a peer" "lap-mia" kcpctl ping l
offers "options of the verb" "--check" kcpctl status --ch
offers "a verb of two words" "--save" kcpctl peer add x --sa
offers "behind a global option" "status" kcpctl -n office stat
offers "what an option takes" "human json" kcpctl -o ''
offers "shells" "bash fish zsh" kcpctl completion ''
(cd "$DIR" && touch some.yaml && [ "$(complete_bash kcpctl config check some)" = "some.yaml " ]) && pass "bash: files" || fail "bash: files"
missing=$(kcpctl help | sed -n 's/^  \([a-z]*\) .*/\1/p' | sort -u | while read -r verb; do
	[[ " $(complete_bash kcpctl '') " == *" $verb "* ]] || echo "$verb"
done)
check "bash: every verb of the help" [ -z "$missing" ] || echo "$missing"
fish_offers() { # TEXT REGEX LINE
	HOME=$DIR fish --no-config -c "source '$DIR/completion.fish'; complete -C '$3'" 2>&1 | grep -qE "$2" && pass "fish: $1" || fail "fish: $1"
}
fish_offers "verbs" '^status' 'kcpctl stat'
fish_offers "second words" '^add' 'kcpctl peer '
fish_offers "peers" '^branch-2' 'kcpctl ping '
fish_offers "options" '^--check' 'kcpctl status --ch'
check "zsh takes its script" zsh -n "$DIR/completion.zsh"
tm new-session -d -s zsh -x 100 -y 24 "exec env PS1='%% ' HOME=$DIR ZDOTDIR=$DIR PATH='$PATH' zsh -f"
tm send-keys -t zsh "autoload -Uz compinit && compinit -u -d $DIR/dump && . $DIR/completion.zsh; clear; echo rea''dy" Enter
until_true 15 shows zsh 'ready' || fail "zsh starts"
tm send-keys -t zsh "kcpctl stat" Tab
check "zsh: verbs" until_true 5 shows zsh '% kcpctl status'
tm send-keys -t zsh "l" Tab
check "zsh: peers" until_true 5 shows zsh 'kcpctl status lap-mia'
