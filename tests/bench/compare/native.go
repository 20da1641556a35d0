package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// What bench_native measures has no like in kcp-go, so it stands beside an aim.
const (
	nativeHandshakes = "3000"  // a run
	nativePeers      = "10000" // that are idle
	nativeIdleRuns   = 2       // they take some 20 seconds each, and differ little
)

type nativeFigure struct {
	name, text, aim string
	scale           float64
}

var nativeFigures = []nativeFigure{
	{"handshakes_per_s", "handshakes a second of one core's CPU, answering", "2700", 1},
	{"handshake_us", "one of them, us of CPU", "", 1},
	{"x25519_us", "the four X25519 in it, alone, us", "", 1},
	{"x25519_share_percent", "share of these, %", "73", 1},
	{"configured_heap_bytes", "KiB of heap a peer, 10000 configured, none connected", "", 1.0 / 1024},
	{"idle_heap_bytes", "KiB of heap a peer, all connected and idle", "4, at most 16", 1.0 / 1024},
	{"idle_resident_bytes", "the same, resident KiB", "at most 16", 1.0 / 1024},
	{"rekeyed_resident_bytes", "the same after the next handshake of each", "at most 16", 1.0 / 1024},
	{"quiet_cpu_percent", "% of a core, keepalives of 25 s both ways", "1", 1},
	{"quiet_wakes_per_s", "wake-ups a second by these", "", 1},
	{"all_cpu_percent", "% of a core, all included: half an hour with the next handshake of each", "1", 1},
	{"all_wakes_per_s", "wake-ups a second by all of it", "", 1},
}

// native runs bench_native once and keeps what it prints, lines of NAME VALUE.
func (t *table) native(figures map[string][]float64, args ...string) {
	out, _, err := t.execute(5*time.Minute, append([]string{t.oursNative}, args...)...)
	if err != nil {
		t.fail("native: %v", err)
		return
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			t.fail("native: %q is not NAME VALUE", line)
			continue
		}
		number, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			t.fail("native: %v", err)
			continue
		}
		figures[fields[0]] = append(figures[fields[0]], number)
	}
}

func (t *table) nativeRound(figures map[string][]float64, round int) {
	t.native(figures, "handshakes", nativeHandshakes)
	if round < nativeIdleRuns {
		t.native(figures, "idle", nativePeers)
	}
}

func writeNative(w io.Writer, figures map[string][]float64) {
	fmt.Fprint(w, "\nThe native wire, the called side's state machine alone, in virtual time\n\n")
	fmt.Fprintln(w, "| | ours (range) | aim |")
	fmt.Fprintln(w, "|---|--:|--:|")
	for _, f := range nativeFigures {
		fmt.Fprintf(w, "| %s | %s | %s |\n", f.text,
			spreadOf(figures[f.name], func(x float64) float64 { return x * f.scale }), f.aim)
	}
}
