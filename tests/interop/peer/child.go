package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a program under test with its three descriptors. It is ended by its own process handle only.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr lockedBuffer
	exited chan struct{}
	err    error
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 1<<20 {
		return len(p), nil // a program that floods its stderr must not fill the memory
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// stdio says what the child's input and output are.
type stdio int

const (
	stdioPipe    stdio = iota
	stdioPackets       // SOCK_SEQPACKET: a read is one record, a write is one record
	stdioFile          // regular files: input must be there before the start, output is read after the end
)

// packetSocket returns the two ends of a connection that keeps records apart.
func packetSocket() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	syscall.SetNonblock(fds[0], true) // lets Go wait for it without a thread, and close it under a reader
	return os.NewFile(uintptr(fds[0]), "packets"), os.NewFile(uintptr(fds[1]), "packets"), nil
}

// startChild runs a command. With stdioFile, input is a regular file's name and the output goes to input + ".out".
func startChild(argv []string, kind stdio, input string) (*child, error) {
	c := &child{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var theirs []*os.File
	switch kind {
	case stdioPipe:
		inRead, inWrite, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		outRead, outWrite, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		c.stdin, c.stdout, theirs = inWrite, outRead, []*os.File{inRead, outWrite}
	case stdioPackets:
		inOurs, inTheirs, err := packetSocket()
		if err != nil {
			return nil, err
		}
		outOurs, outTheirs, err := packetSocket()
		if err != nil {
			return nil, err
		}
		c.stdin, c.stdout, theirs = inOurs, outOurs, []*os.File{inTheirs, outTheirs}
	case stdioFile:
		in, err := os.Open(input)
		if err != nil {
			return nil, err
		}
		out, err := os.Create(input + ".out")
		if err != nil {
			return nil, err
		}
		theirs = []*os.File{in, out}
	}
	c.cmd.Stdin, c.cmd.Stdout = theirs[0], theirs[1]
	err := c.cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// status waits for the end and returns the exit status.
func (c *child) status(deadline time.Time) (int, error) {
	select {
	case <-c.exited:
	case <-time.After(time.Until(deadline)):
		return -1, errors.New("has not left by itself")
	}
	if c.err == nil {
		return 0, nil
	}
	var exit *exec.ExitError
	if errors.As(c.err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return -1, c.err
}

func (c *child) terminate() { c.cmd.Process.Signal(syscall.SIGTERM) }

// discard ends the child whatever it does.
func (c *child) discard() {
	if c.stdin != nil {
		c.stdin.Close()
	}
	c.cmd.Process.Kill()
	<-c.exited
	if c.stdout != nil {
		c.stdout.Close()
	}
}

// stats reads the counters that --stats leaves on stderr: its last line that is a JSON object.
func (c *child) stats() (map[string]float64, error) {
	lines := strings.Split(strings.TrimSpace(c.stderr.String()), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		var raw map[string]interface{}
		if json.Unmarshal([]byte(lines[i]), &raw) != nil {
			continue
		}
		counters := map[string]float64{}
		flatten("", raw, counters)
		return counters, nil
	}
	return nil, errors.New("no counters on stderr")
}

// flatten keys nested counters by their lower-case path without underscores, so that InPkts and in_pkts are one name.
func flatten(prefix string, raw map[string]interface{}, into map[string]float64) {
	for name, value := range raw {
		key := prefix + strings.ToLower(strings.ReplaceAll(name, "_", ""))
		switch v := value.(type) {
		case float64:
			into[key] = v
		case map[string]interface{}:
			flatten(key+".", v, into)
		}
	}
}

const portMin, portEnd = 20000, 32000

var (
	portMu    sync.Mutex
	portDice  = rand.New(rand.NewSource(time.Now().UnixNano()))
	portsUsed = map[int]net.Listener{}
)

// freePort finds a UDP port nobody holds now, that this run has not handed out before, and that is no other run's: runs with
// other builds may go on beside this one, and two that take one port between them hear each other's packets. A name in the
// network namespace's own list, held until this process ends, says whose it is. Ports that the kernel gives to callers are
// left out, as any program may get one before the child binds it.
func freePort(host string) (int, error) {
	portMu.Lock()
	defer portMu.Unlock()
	for {
		port := portMin + portDice.Intn(portEnd-portMin)
		if portsUsed[port] != nil {
			continue
		}
		mine, err := net.Listen("unix", fmt.Sprintf("@kcp-interop-port-%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		conn, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			mine.Close()
			continue
		}
		if err != nil {
			mine.Close()
			return 0, err
		}
		conn.Close()
		portsUsed[port] = mine
		return port, nil
	}
}

// waitBound waits until some socket of this network namespace is bound to the UDP (or TCP) port.
func (c *child) waitBound(table string, port int, deadline time.Time) error {
	needle := fmt.Sprintf(":%04X ", port)
	for time.Now().Before(deadline) {
		for _, name := range []string{"/proc/self/net/" + table, "/proc/self/net/" + table + "6"} {
			text, _ := os.ReadFile(name)
			for _, line := range strings.Split(string(text), "\n") {
				fields := strings.Fields(line)
				if len(fields) > 3 && strings.HasSuffix(fields[1]+" ", needle) {
					return nil
				}
			}
		}
		select {
		case <-c.exited:
			return fmt.Errorf("left before it was listening: %s", tail(c.stderr.String()))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("is not listening on %s port %d", table, port)
}

// tail is the end of a program's stderr, on one line.
func tail(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 600 {
		text = "..." + text[len(text)-600:]
	}
	return strings.ReplaceAll(text, "\n", " | ")
}
