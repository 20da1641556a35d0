package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"
)

// benchmark is a name that both sides know, and how many operations make a run of about a second on kcp-go.
// An operation is: a cipher, 1500 bytes encrypted and decrypted (3000 bytes); EchoSpeed, that many bytes there and back
// (salsa20, FEC 10/3 from the client, none from the server); SinkSpeed, that many bytes written (no cipher, no FEC).
// kcp-go's SinkSpeed256K writes 512 KiB, whatever its name says; so does ours.
type benchmark struct {
	name  string
	count int
}

var benchmarks = []benchmark{
	{"Salsa20", 150000},
	{"AES128", 150000},
	{"AES192", 150000},
	{"AES256", 150000},
	{"TEA", 40000},
	{"XTEA", 15000},
	{"XOR", 3000000},
	{"Blowfish", 20000},
	{"None", 8000000},
	{"Cast5", 20000},
	{"3DES", 6000},
	{"Twofish", 15000},
	{"SM4", 15000},
	{"EchoSpeed4K", 8000},
	{"EchoSpeed64K", 800},
	{"EchoSpeed512K", 100},
	{"EchoSpeed1M", 50},
	{"SinkSpeed4K", 10000},
	{"SinkSpeed64K", 800},
	{"SinkSpeed256K", 100},
	{"SinkSpeed1M", 50},
}

// result is one run.
type result struct {
	mbPerSecond float64 // 10^6 bytes
	cpuSeconds  float64 // user and system time of the whole process
}

type table struct {
	reference, ours, oursSessions, oursNative, self string
	log                                             io.Writer
	failures                                        []string
}

// fail remembers a run that gave no figure; the others go on, and the table says so at its end.
func (t *table) fail(format string, args ...interface{}) {
	text := fmt.Sprintf(format, args...)
	t.failures = append(t.failures, text)
	fmt.Fprintf(os.Stderr, "\r%s\n", text)
	fmt.Fprintln(t.log, text)
}

func tableMain(args []string) error {
	set := flag.NewFlagSet("table", flag.ExitOnError)
	reference := set.String("reference", "", "kcp-go's test binary")
	ours := set.String("ours", "", "bench_kcp")
	oursSessions := set.String("ours-sessions", "", "bench_sessions")
	oursNative := set.String("ours-native", "", "bench_native")
	out := set.String("out", ".", "folder for kcp-go.txt (the table) and kcp-go-runs.txt (each run)")
	runs := set.Int("runs", 5, "runs of each benchmark, in turn")
	only := set.String("only", "", "benchmarks whose name contains this; Sessions and Native are two, too")
	budget := set.Duration("budget", 10*time.Minute, "no further round is begun that would not fit")
	sessions := set.Int("sessions", 3000, "quiet sessions")
	seconds := set.Int("seconds", 20, "seconds over which their CPU time is taken")
	set.Parse(args)
	if *reference == "" || *ours == "" || *oursSessions == "" || *oursNative == "" {
		return errors.New("--reference, --ours, --ours-sessions and --ours-native are required")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(*out, "kcp-go-runs.txt"))
	if err != nil {
		return err
	}
	defer log.Close()
	t := &table{reference: *reference, ours: *ours, oursSessions: *oursSessions, oursNative: *oursNative, self: self,
		log: log}

	var chosen []benchmark
	for _, b := range benchmarks {
		if strings.Contains(b.name, *only) {
			chosen = append(chosen, b)
		}
	}
	withSessions := strings.Contains("Sessions", *only)
	withNative := strings.Contains("Native", *only)
	if len(chosen) == 0 && !withSessions && !withNative {
		return fmt.Errorf("no benchmark is called %q", *only)
	}
	theirs, mine := make([][]result, len(chosen)), make([][]result, len(chosen))
	var theirFleet, myFleet [][]float64
	native := make(map[string][]float64)
	started, longest, done := time.Now(), time.Duration(0), 0
	for ; done < *runs; done++ {
		round := time.Now()
		if done > 0 && time.Since(started)+longest > *budget {
			fmt.Fprintf(os.Stderr, "stopped after %d rounds: the next would not fit into %v\n", done, *budget)
			break
		}
		for i, b := range chosen {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-20s", done+1, *runs, b.name)
			t.pair(b, done, &theirs[i], &mine[i])
		}
		if withSessions {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-20s", done+1, *runs, "sessions")
			t.fleets(*sessions, *seconds, &theirFleet, &myFleet)
		}
		if withNative {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-20s", done+1, *runs, "native")
			t.nativeRound(native, done)
		}
		if spent := time.Since(round); spent > longest {
			longest = spent
		}
	}
	fmt.Fprintf(os.Stderr, "\r%60s\r", "")

	var text bytes.Buffer
	fmt.Fprintf(&text, "kcp-go 5.6.1 as packaged, and this project; %s, %d cores; %d runs in turn, %s\n\n", cpuModel(),
		runtime.NumCPU(), done, started.Format("2006-01-02"))
	writeSpeeds(&text, chosen, theirs, mine)
	if withSessions {
		writeFleets(&text, *sessions, theirFleet, myFleet)
	}
	if withNative {
		writeNative(&text, native)
	}
	for _, failure := range t.failures {
		fmt.Fprintf(&text, "\nno figure: %s\n", failure)
	}
	os.Stdout.Write(text.Bytes())
	if err := os.WriteFile(filepath.Join(*out, "kcp-go.txt"), text.Bytes(), 0o644); err != nil {
		return err
	}
	if len(t.failures) > 0 {
		return fmt.Errorf("%d runs gave no figure", len(t.failures))
	}
	return nil
}

// pair runs both sides of a benchmark once. Who goes first changes from round to round.
func (t *table) pair(b benchmark, round int, theirs, mine *[]result) {
	for half := 0; half < 2; half++ {
		run, results, who := t.runReference, theirs, "kcp-go's"
		if (half+round)%2 == 1 {
			run, results, who = t.runOurs, mine, "our"
		}
		if r, err := run(b); err != nil {
			t.fail("%s %s: %v", who, b.name, err)
		} else {
			*results = append(*results, r)
		}
	}
}

// execute runs a program to its end, with a bound, and returns what it printed and the CPU seconds it took.
func (t *table) execute(limit time.Duration, argv ...string) (string, float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v", limit)
	}
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(errs.String()))
	}
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	fmt.Fprintf(t.log, "$ %s\n%scpu %.3f s\n", strings.Join(argv, " "), out.String(), cpu)
	return out.String(), cpu, nil
}

// kcp-go's benchmarks end by a deadline of a minute, twice in a run: once for one operation, once for all.
const runLimit = 125 * time.Second

func (t *table) runReference(b benchmark) (result, error) {
	out, cpu, err := t.execute(runLimit, t.reference, "-test.run", "^$", "-test.bench", "^Benchmark"+b.name+"$",
		"-test.benchtime", fmt.Sprintf("%dx", b.count))
	if err != nil {
		return result{}, err
	}
	for _, line := range strings.Split(out, "\n") {
		fields := strings.Fields(line)
		for i := 1; strings.HasPrefix(line, "Benchmark"+b.name) && i < len(fields); i++ {
			if fields[i] == "MB/s" {
				speed, err := strconv.ParseFloat(fields[i-1], 64)
				return result{speed, cpu}, err
			}
		}
	}
	return result{}, fmt.Errorf("no speed in %q", out)
}

// runOurs reads "NAME count ns_per_op MB_per_s cpu_seconds". CPU time is taken as for kcp-go, of the whole process.
func (t *table) runOurs(b benchmark) (result, error) {
	out, cpu, err := t.execute(runLimit, t.ours, b.name, strconv.Itoa(b.count))
	if err != nil {
		return result{}, err
	}
	fields := strings.Fields(out)
	if len(fields) != 5 || fields[0] != b.name || fields[1] != strconv.Itoa(b.count) {
		return result{}, fmt.Errorf("%q is not NAME count ns_per_op MB_per_s cpu_seconds", out)
	}
	speed, err := strconv.ParseFloat(fields[3], 64)
	return result{speed, cpu}, err
}

// fleets runs the quiet sessions once on each side.
func (t *table) fleets(sessions, seconds int, theirs, mine *[][]float64) {
	for _, side := range []struct {
		argv    []string
		results *[][]float64
	}{{[]string{t.self, "sessions"}, theirs}, {[]string{t.oursSessions}, mine}} {
		numbers, err := t.runFleet(side.argv, sessions, seconds)
		if err != nil {
			t.fail("sessions: %v", err)
			continue
		}
		*side.results = append(*side.results, numbers)
	}
}

// runFleet reads "sessions seconds cpu_seconds rss_bytes_per_session".
func (t *table) runFleet(argv []string, sessions, seconds int) ([]float64, error) {
	limit := time.Duration(seconds)*time.Second + time.Minute
	out, _, err := t.execute(limit, append(argv, strconv.Itoa(sessions), strconv.Itoa(seconds))...)
	if err != nil {
		return nil, err
	}
	var numbers []float64
	for _, field := range strings.Fields(out) {
		number, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, fmt.Errorf("%s printed %q", argv[0], out)
		}
		numbers = append(numbers, number)
	}
	if len(numbers) < 4 || numbers[1] <= 0 {
		return nil, fmt.Errorf("%s printed %q", argv[0], out)
	}
	return numbers[:4], nil
}

func writeSpeeds(w io.Writer, chosen []benchmark, theirs, mine [][]result) {
	if len(chosen) == 0 {
		return
	}
	fmt.Fprintln(w, "| benchmark | operations | kcp-go MB/s (range) | ours MB/s (range) | median, ratio | to kcp-go's best |"+
		" kcp-go CPU s | ours CPU s | CPU, ratio |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	speed := func(r result) float64 { return r.mbPerSecond }
	cpu := func(r result) float64 { return r.cpuSeconds }
	for i, b := range chosen {
		their, my := spreadOf(theirs[i], speed), spreadOf(mine[i], speed)
		theirCPU, myCPU := spreadOf(theirs[i], cpu), spreadOf(mine[i], cpu)
		fmt.Fprintf(w, "| %s | %d | %s | %s | %.2f x | %.2f x | %.2f | %.2f | %.2f |\n", b.name, b.count, their, my,
			ratio(my.median, their.median), ratio(my.median, their.max), theirCPU.median, myCPU.median,
			ratio(myCPU.median, theirCPU.median))
	}
}

func writeFleets(w io.Writer, sessions int, theirs, mine [][]float64) {
	percent := func(r []float64) float64 { return 100 * r[2] / r[1] }
	memory := func(r []float64) float64 { return r[3] / 1024 }
	their, my := spreadOf(theirs, percent), spreadOf(mine, percent)
	theirMemory, myMemory := spreadOf(theirs, memory), spreadOf(mine, memory)
	fmt.Fprintf(w, "\n%d sessions that echo one packet a second each, client and server together\n\n", sessions)
	fmt.Fprintln(w, "| | kcp-go (range) | ours (range) | ratio |")
	fmt.Fprintln(w, "|---|--:|--:|--:|")
	fmt.Fprintf(w, "| CPU, %% of a core | %s | %s | %.3f |\n", their, my, ratio(my.median, their.median))
	fmt.Fprintf(w, "| resident KiB a session, both ends | %s | %s | %.3f |\n", theirMemory, myMemory,
		ratio(myMemory.median, theirMemory.median))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// spread is the middle and the ends of some figures.
type spread struct {
	median, min, max float64
	known            bool
}

func spreadOf[T any](results []T, figure func(T) float64) spread {
	var all []float64
	for _, r := range results {
		all = append(all, figure(r))
	}
	sort.Float64s(all)
	n := len(all)
	if n == 0 {
		return spread{}
	}
	return spread{(all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1], true}
}

func (s spread) String() string {
	if !s.known {
		return "none"
	}
	return fmt.Sprintf("%s (%s-%s)", short(s.median), short(s.min), short(s.max))
}

// short keeps three digits.
func short(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for _, line := range strings.Split(string(text), "\n") {
		if parts := strings.SplitN(line, ":", 2); len(parts) == 2 && strings.HasPrefix(line, "model name") {
			return strings.TrimSpace(parts[1])
		}
	}
	return runtime.GOARCH
}
