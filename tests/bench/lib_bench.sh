# shellcheck shell=bash
# What the scripts share that measure many cells, each appended to a TSV file when it is done.
#
#   bench_wrong TEXT             says what is wrong with the options, and leaves
#   bench_list LIST              commas become spaces
#   bench_number OPTION TEXT     prints a number of an option
#   bench_as_root VARIABLE ARGUMENT...
#                                goes on as root if we are not; VARIABLE=1 then tells that all is built
#   bench_matrix SCRIPT          runs what measures, and passes a stop on to it; 1 if it was stopped. Sets
#                                BENCH_STATUS, its exit status
#   tsv_line VALUES              prints the values of an associative array by the names in COLUMNS, as a line
#   tsv_begin FILE HEAD          makes FILE, or checks that it has these columns
#   tsv_has FILE KEY N...        true if a line of FILE has in columns N... what KEY says, with spaces in between
BENCH_NAME=$(basename "$0")

bench_wrong() {
	echo "$BENCH_NAME: $*" >&2
	exit 2
}
# shellcheck disable=SC2317
bench_list() { printf '%s\n' "${1//,/ }"; }
bench_number() {
	[[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || bench_wrong "$1 $2: not a number from 1 to 99999"
	printf '%s\n' "$2"
}
bench_as_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	local built=$1
	shift
	command -v sudo >/dev/null || bench_wrong "network namespaces need root, and there is no sudo"
	exec sudo -- env "$built=1" "FULL=${FULL:-}" "RUNS=$RUNS" "$PWD/scripts/$BENCH_NAME" "$@"
}
bench_matrix() {
	local stopped='' matrix
	BENCH_STATUS=0
	bash "$1" &
	matrix=$!
	trap 'stopped=1; kill -TERM "$matrix" 2>/dev/null || true' INT TERM HUP
	wait "$matrix" || BENCH_STATUS=$?
	while kill -0 "$matrix" 2>/dev/null; do
		wait "$matrix" || BENCH_STATUS=$?
	done
	[ -z "$stopped" ]
}

tsv_line() {
	local -n _values=$1
	local column line=''
	for column in "${COLUMNS[@]}"; do
		line+=${line:+$'\t'}${_values[$column]:--}
	done
	printf '%s\n' "$line"
}
tsv_begin() {
	mkdir -p "$(dirname "$1")"
	if [ -s "$1" ]; then
		[ "$(head -n 1 "$1")" = "$2" ] || die "$1 has other columns: name another file with --out"
	else
		printf '%s\n' "$2" >"$1"
	fi
}
tsv_has() {
	local file=$1 key=$2
	shift 2
	[ -e "$file" ] && awk -F '\t' -v key="$key" -v columns="$*" '
		BEGIN { n = split(columns, column, " ") }
		{
			line = $column[1]
			for (i = 2; i <= n; i++) line = line " " $column[i]
			if (line == key) found = 1
		}
		END { exit !found }' "$file"
}
