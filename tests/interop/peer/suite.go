package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// testCase is one line of a suite's output. run gets a deadline and must keep it.
type testCase struct {
	name  string
	limit time.Duration
	alone bool // runs with nothing beside it: it needs the machine
	run   func(t *trial) error

	notReference bool // kcp-go itself, in kcpcat's place, does not do this
}

// trial is what a running case has at hand.
type trial struct {
	kcpcat   []string
	deadline time.Time
	dir      string // an empty folder of its own
	seed     uint64
	notes    []string
}

func (t *trial) note(format string, args ...interface{}) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// suite holds a suite's command line.
type suite struct {
	set     *flag.FlagSet
	kcpcat  *string
	only    *string
	workers *int
	seed    *uint64

	reference *bool
}

func newSuite(name string) *suite {
	set := flag.NewFlagSet(name, flag.ExitOnError)
	return &suite{
		set:     set,
		kcpcat:  set.String("kcpcat", "build/release/kcpcat", "the program under test, with its first arguments"),
		only:    set.String("only", "", "run the cases whose name contains this"),
		workers: set.Int("j", 4, "cases at a time; most of one is waiting for the end of silence"),
		seed:    set.Uint64("seed", 1, "seed of contents and losses"),

		reference: set.Bool("reference", false, "kcpcat is kcp-go: leave out what that cannot do"),
	}
}

func (s *suite) parse(args []string) error {
	s.set.Parse(args)
	program := strings.Fields(*s.kcpcat)
	if len(program) == 0 {
		return fmt.Errorf("--kcpcat names no program")
	}
	_, err := exec.LookPath(program[0])
	return err
}

// run carries the cases out, prints a line for each, and fails if one failed.
func (s *suite) run(cases []testCase) error {
	base, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	var mu sync.Mutex
	passed, failed := 0, 0
	one := func(i int) {
		c := cases[i]
		t := &trial{kcpcat: strings.Fields(*s.kcpcat), deadline: time.Now().Add(c.limit),
			dir: filepath.Join(base, fmt.Sprint(i)), seed: *s.seed*1000 + uint64(i)}
		started := time.Now()
		err := os.Mkdir(t.dir, 0o700)
		if err == nil {
			err = c.run(t)
		}
		os.RemoveAll(t.dir)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed++
			t.notes = append(t.notes, err.Error())
		} else {
			passed++
		}
		verdict := map[bool]string{true: "PASS", false: "FAIL"}[err == nil]
		fmt.Printf("%s %-58s %5.1f s  %s\n", verdict, c.name, time.Since(started).Seconds(),
			strings.Join(t.notes, "; "))
	}
	for _, alone := range []bool{false, true} {
		work := make(chan int)
		var done sync.WaitGroup
		workers := *s.workers
		if alone {
			workers = 1
		}
		for w := 0; w < workers; w++ {
			done.Add(1)
			go func() {
				defer done.Done()
				for i := range work {
					one(i)
				}
			}()
		}
		for i, c := range cases {
			if c.alone == alone && !(c.notReference && *s.reference) && strings.Contains(c.name, *s.only) {
				work <- i
			}
		}
		close(work)
		done.Wait()
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		return exitError(1)
	}
	return nil
}
