// Command compare runs kcp-go's own benchmarks, as packaged, and this project's programs of the same names, and makes
// a table of both.
//
//	compare table --reference kcpgo.test --ours bench_kcp --ours-sessions bench_sessions
//		--ours-native bench_native --out DIR
//	compare sessions N SECONDS      what bench_sessions does, on kcp-go
//
// kcp-go's figures swing: a lost packet on the loopback stalls its bulk benchmarks for a whole time-out. So each
// benchmark runs a fixed number of operations, several times, in turn with ours, and the table shows median and range.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func(args []string) error{"table": tableMain, "sessions": sessionsMain}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: compare table|sessions ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "compare %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
