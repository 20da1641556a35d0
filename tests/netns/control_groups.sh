#!/bin/bash
# timeout: 120
#
# Whom the control socket serves, by groups of the kernel's word: members of control.group look and do not touch; who is
# in control.admin_group, too, does both; the others get nothing, and are told what to do. Another control.group counts
# after a restart, and a reload says so.
#
#     10.99.0.1 kcp0 - vpnd; calls a port where nobody is
. "$(dirname "$0")/lib_sites.sh"

# Three groups that this machine has.
mapfile -t found < <(getent group | awk -F : '$3 > 0 && $3 < 65534 && $1 ~ /^[a-z][a-z0-9_-]*$/ { print $1 ":" $3 }' | head -n 3)
[ ${#found[@]} = 3 ] || die "this machine has not even three groups"
LOOK=${found[0]%:*} LOOK_GID=${found[0]#*:}
ADMIN=${found[1]%:*} ADMIN_GID=${found[1]#*:}
OTHER=${found[2]%:*} OTHER_GID=${found[2]#*:}
netns_new NS a
native_key b >/dev/null
config() { # GROUP ADMIN_GROUP
	native a 1 "control: {group: $1, admin_group: $2}" \
		"peers: {b: {public_key: \"$(native_key b)\", endpoints: [\"127.0.0.1:29999\"], allowed_ips: [10.99.0.2]}}"
}
config "$LOOK" "$ADMIN"
vpnd_start "$NS" "$RUN_DIR/a.yaml" || exit 1
SOCKET=$RUN_DIR/control/a/control.sock
install -m 755 "$BIN/kcpctl" "$RUN_DIR/kcpctl" # the tree itself may be out of reach

# as GROUPS ARGUMENT...: kcpctl by a user without a name, who is in the groups besides one of his own; into said
as() {
	local groups=(--clear-groups)
	[ -z "$1" ] || groups=("--groups=$1")
	shift
	setpriv --reuid=54321 --regid=54321 "${groups[@]}" --inh-caps=-all --bounding-set=-all \
		"$RUN_DIR/kcpctl" --control "$SOCKET" "$@" >"$RUN_DIR/said" 2>&1 </dev/null
}
# may TEXT STATUS GROUPS ARGUMENT...: and the exit status
may() {
	local text=$1 want=$2
	shift 2
	as "$@"
	expect "$text: exit status" $? == "$want" || cat "$RUN_DIR/said"
}
address_there() { [ -n "$(in_ns "$NS" ip -o addr show kcp0 to 10.99.0.1)" ]; }

expect "the socket's group" "$(stat -c %g "$SOCKET")" == "$LOOK_GID"
check "its mode is 0660" [ "$(stat -c %a "$SOCKET")" = 660 ]

may "a reader: status" 0 "$LOOK_GID" status
check "he sees the peer" grep -qE '^b +connecting' "$RUN_DIR/said"
may "a reader: log" 0 "$LOOK_GID" log
for verb in down 'down b' up 'up b' reload; do
	# shellcheck disable=SC2086
	may "a reader: $verb" 4 "$LOOK_GID" $verb
	check "he is told which group may" grep -q "group \"$ADMIN\"" "$RUN_DIR/said" || cat "$RUN_DIR/said"
done
check "nothing happened" address_there
check "not to the peer either" peer_is a b connecting
expect "and nothing was read anew: generation" "$(status a .config.generation)" == 1

may "an administrator: status" 0 "$LOOK_GID,$ADMIN_GID" status
may "an administrator: down b" 0 "$LOOK_GID,$ADMIN_GID" down b
check "the peer is down" peer_is a b down
may "an administrator: up b" 0 "$LOOK_GID,$ADMIN_GID" up b
may "an administrator: down" 0 "$LOOK_GID,$ADMIN_GID" down
check "the address is gone" [ -z "$(in_ns "$NS" ip -o addr show kcp0 to 10.99.0.1)" ]
may "an administrator: up" 0 "$LOOK_GID,$ADMIN_GID" up
check "it is back" address_there
may "an administrator: reload" 0 "$LOOK_GID,$ADMIN_GID" reload

for groups in '' "$OTHER_GID" "$ADMIN_GID"; do
	may "neither root nor in control.group (groups: ${groups:-none}): status" 4 "$groups" status
	may "and down" 4 "$groups" down
done
check "nothing happened" address_there

# ---- the administrators' group is exchanged by a reload ----
config "$LOOK" "$OTHER"
check "reload: another admin_group" ctl a reload
may "whoever was an administrator: down" 4 "$LOOK_GID,$ADMIN_GID" down b
may "he still sees" 0 "$LOOK_GID,$ADMIN_GID" status
may "whoever became one: down" 0 "$LOOK_GID,$OTHER_GID" down b
may "and up" 0 "$LOOK_GID,$OTHER_GID" up b

# ---- the readers' group is not: who could give the socket to another has given that right up ----
config "$OTHER" "$ADMIN"
ctl a reload >"$RUN_DIR/said" 2>&1
check "reload: another group: it says that it takes a restart" grep -qi 'restart' "$RUN_DIR/said" || cat "$RUN_DIR/said"
may "the old group still sees" 0 "$LOOK_GID" status
expect "the socket's group" "$(stat -c %g "$SOCKET")" == "$LOOK_GID"
check "it ends in order" vpnd_stop a
vpnd_start "$NS" "$RUN_DIR/a.yaml" || exit 1
may "after a restart: the new group sees" 0 "$OTHER_GID" status
may "and the old one does not" 4 "$LOOK_GID" status
check "it ends in order" vpnd_stop a

# ---- a group that is not there: root alone ----
config "no-such-group" "no-such-admins"
vpnd_start "$NS" "$RUN_DIR/a.yaml" || exit 1
expect "without the group, the socket's is root's" "$(stat -c %g "$SOCKET")" == 0
may "nobody else sees" 4 "$LOOK_GID,$OTHER_GID,$ADMIN_GID" status
check "root does" ctl a status >/dev/null
check "it ends in order" vpnd_stop a
