package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	kcp "github.com/xtaci/kcp-go"
)

// transfer moves known bytes through one session between kcpcat and kcp-go and compares them at both ends.
type transfer struct {
	goDials     bool
	kcpcat, goe options // goe: the Go end
	host        string  // loopback address, default 127.0.0.1
	toKcpcat    int64   // bytes Go sends; in message mode: messages
	fromKcpcat  int64   // bytes kcpcat sends; in message mode: messages
	longest     int     // longest message of kcpcat in bytes, 0 = one segment
	echo        bool    // kcpcat returns what Go sends (fromKcpcat is ignored)
	sink        bool    // kcpcat counts what Go sends (fromKcpcat is ignored)
	kind        stdio
	loss        float64       // probability towards kcpcat
	lossToGo    float64       // and towards Go
	idle        int           // kcpcat's --idle in seconds, default 1
	sleep       time.Duration // before the receiver begins to read
	recovers    bool          // kcpcat must have repaired something by FEC
}

// ends are the running parts of a transfer.
type ends struct {
	child *child
	sess  *kcp.UDPSession
	relay *relay
	close func()
}

func (x *transfer) run(t *trial) error {
	if x.host == "" {
		x.host = "127.0.0.1"
	}
	if x.idle == 0 {
		x.idle = 1
	}
	if x.echo || x.sink {
		x.fromKcpcat = 0
	}
	e, failed, err := x.connect(t)
	if err != nil {
		return err
	}
	defer e.close()
	err = x.exchange(t, e, failed)
	if err != nil {
		return fmt.Errorf("%w [kcpcat says: %s]", err, tail(e.child.stderr.String()))
	}
	return nil
}

func (x *transfer) lossy() bool { return x.loss > 0 || x.lossToGo > 0 }

func (x *transfer) seeds(t *trial) (toKcpcat, fromKcpcat uint64) { return t.seed * 2, t.seed*2 + 1 }

// connect starts both ends. Of kcpcat's own input and output the goroutines started here take care; what they find
// arrives on the channel, nil for each that is content.
func (x *transfer) connect(t *trial) (*ends, chan error, error) {
	e := &ends{}
	var closers []func()
	e.close = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	ok := false
	defer func() {
		if !ok {
			e.close()
		}
	}()
	argv := append(append([]string{}, t.kcpcat...), "--idle", strconv.Itoa(x.idle), "--stats")
	argv = append(argv, x.kcpcat.argv()...)
	input, err := x.inputFile(t)
	if err != nil {
		return nil, nil, err
	}
	seed, any := int64(t.seed), net.JoinHostPort(x.host, "0")
	if x.goDials {
		port, err := freePort(x.host)
		if err != nil {
			return nil, nil, err
		}
		if x.echo {
			argv = append(argv, "-e")
		}
		if x.sink {
			argv = append(argv, "--sink")
		}
		argv = append(argv, "-l", x.host, strconv.Itoa(port))
		if e.child, err = startChild(argv, x.kind, input); err != nil {
			return nil, nil, err
		}
		closers = append(closers, e.child.discard)
		if err = e.child.waitBound("udp", port, t.deadline); err != nil {
			return nil, nil, err
		}
		remote := net.JoinHostPort(x.host, strconv.Itoa(port))
		if x.lossy() {
			if e.relay, err = startRelay(any, remote, x.loss, x.lossToGo, seed); err != nil {
				return nil, nil, err
			}
			closers = append(closers, e.relay.close)
			remote = e.relay.address()
		}
		failed := x.serveChild(t, e.child)
		sess, conn, err := x.goe.dial(remote)
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, func() { sess.Close(); conn.Close() })
		e.sess, ok = sess, true
		return e, failed, nil
	}
	l, err := x.goe.listen(any)
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, l.close)
	port := l.port()
	if x.lossy() {
		target := net.JoinHostPort(x.host, strconv.Itoa(port))
		if e.relay, err = startRelay(any, target, x.lossToGo, x.loss, seed); err != nil {
			return nil, nil, err
		}
		closers = append(closers, e.relay.close)
		port = e.relay.front.LocalAddr().(*net.UDPAddr).Port
	}
	argv = append(argv, x.host, strconv.Itoa(port))
	if e.child, err = startChild(argv, x.kind, input); err != nil {
		return nil, nil, err
	}
	closers = append(closers, e.child.discard)
	failed := x.serveChild(t, e.child)
	if e.sess, err = l.accept(t.deadline); err != nil {
		return nil, nil, fmt.Errorf("no session came: %v [kcpcat says: %s]", err, tail(e.child.stderr.String()))
	}
	closers = append(closers, func() { e.sess.Close() })
	ok = true
	return e, failed, nil
}

func (x *transfer) inputFile(t *trial) (string, error) {
	if x.kind != stdioFile {
		return "", nil
	}
	_, seed := x.seeds(t)
	content := make([]byte, x.fromKcpcat)
	newPattern(seed).fill(content)
	name := filepath.Join(t.dir, "input")
	return name, os.WriteFile(name, content, 0o600)
}

// serveChild feeds kcpcat's input and judges its output; exactly two results follow on the channel.
func (x *transfer) serveChild(t *trial, c *child) chan error {
	failed := make(chan error, 2)
	toSeed, fromSeed := x.seeds(t)
	if x.kind == stdioFile {
		failed <- nil
		go func() {
			_, err := c.status(t.deadline)
			if err == nil {
				err = x.checkFile(t, toSeed)
			}
			failed <- err
		}()
		return failed
	}
	go func() {
		defer c.stdin.Close()
		if x.kcpcat.message {
			failed <- sendMessages(c.stdin, fromSeed, int(x.fromKcpcat), x.longestFromKcpcat())
			return
		}
		_, err := io.Copy(c.stdin, io.LimitReader(patternReader{newPattern(fromSeed)}, x.fromKcpcat))
		failed <- err
	}()
	go func() {
		expected := x.toKcpcat
		if x.echo || x.sink {
			expected = 0
		}
		if x.kcpcat.message {
			failed <- receiveMessages("kcpcat", c.stdout, toSeed, int(expected), x.longestToKcpcat(), true)
			return
		}
		s := newSink(toSeed)
		time.Sleep(x.sleep)
		if _, err := io.Copy(s, c.stdout); err != nil {
			failed <- err
			return
		}
		failed <- s.verdict("kcpcat", expected)
	}()
	return failed
}

func (x *transfer) checkFile(t *trial, seed uint64) error {
	content, err := os.ReadFile(filepath.Join(t.dir, "input.out"))
	if err != nil {
		return err
	}
	s := newSink(seed)
	s.Write(content)
	return s.verdict("kcpcat's file", x.toKcpcat)
}

// A write of a kcp-go session is cut into segments, so its messages must fit one; kcpcat's need not.
func (x *transfer) longestToKcpcat() int { return x.goe.mss() }

func (x *transfer) longestFromKcpcat() int {
	if x.longest > 0 {
		return x.longest
	}
	return x.kcpcat.mss()
}

// exchange is the Go end: sends, receives, waits until kcpcat has left by itself, and judges.
func (x *transfer) exchange(t *trial, e *ends, failed chan error) error {
	toSeed, fromSeed := x.seeds(t)
	e.sess.SetDeadline(t.deadline)
	started := time.Now()
	sent := make(chan error, 1)
	go func() {
		if x.goe.message {
			sent <- sendMessages(e.sess, toSeed, int(x.toKcpcat), x.longestToKcpcat())
			return
		}
		_, err := io.Copy(struct{ io.Writer }{e.sess},
			io.LimitReader(patternReader{newPattern(toSeed)}, x.toKcpcat))
		sent <- err
	}()
	var err error
	if !x.goDials {
		time.Sleep(x.sleep)
	}
	switch {
	case x.goe.message && x.echo:
		err = receiveMessages("Go", e.sess, toSeed, int(x.toKcpcat), x.longestToKcpcat(), false)
	case x.goe.message:
		err = receiveMessages("Go", e.sess, fromSeed, int(x.fromKcpcat), x.longestFromKcpcat(), false)
	case x.echo:
		err = receiveStream(e.sess, toSeed, x.toKcpcat)
	default:
		err = receiveStream(e.sess, fromSeed, x.fromKcpcat)
	}
	if err != nil {
		return err
	}
	if err = <-sent; err != nil {
		return fmt.Errorf("Go could not send: %w", err)
	}
	moved := time.Since(started)
	status, err := e.child.status(t.deadline)
	if err != nil {
		return fmt.Errorf("kcpcat %w", err)
	}
	for i := 0; i < 2; i++ {
		if err = <-failed; err != nil {
			return err
		}
	}
	if status != 0 {
		return fmt.Errorf("kcpcat left with status %d", status)
	}
	e.sess.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := e.sess.Read(make([]byte, 1)); n > 0 && err == nil {
		return errors.New("Go received more than was sent")
	}
	return x.judgeCounters(t, e, moved)
}

func (x *transfer) judgeCounters(t *trial, e *ends, moved time.Duration) error {
	if x.toKcpcat+x.fromKcpcat >= 4<<20 {
		t.note("%.1f MB/s", float64(x.toKcpcat+x.fromKcpcat)/1e6/moved.Seconds())
	}
	if e.relay != nil {
		t.note(e.relay.summary())
	}
	counters, err := e.child.stats()
	if err != nil {
		return err
	}
	find := func(name string) float64 {
		for key, value := range counters {
			if key == name || len(key) > len(name) && key[len(key)-len(name)-1:] == "."+name {
				return value
			}
		}
		return -1
	}
	if recovered := find("fecrecovered"); x.recovers {
		t.note("kcpcat recovered %.0f", recovered)
		if recovered <= 0 {
			return errors.New("kcpcat repaired nothing by FEC")
		}
	}
	if received := find("bytesreceived"); x.sink && received != float64(x.toKcpcat) {
		return fmt.Errorf("kcpcat counted %.0f of %d bytes", received, x.toKcpcat)
	}
	return nil
}

type patternReader struct{ *pattern }

func (p patternReader) Read(b []byte) (int, error) {
	p.fill(b)
	return len(b), nil
}

func receiveStream(from io.Reader, seed uint64, bytes int64) error {
	s := newSink(seed)
	buf := make([]byte, 1<<16)
	for s.bytes < bytes {
		n, err := from.Read(buf)
		if err != nil {
			return fmt.Errorf("Go received %d of %d bytes: %w", s.bytes, bytes, err)
		}
		s.Write(buf[:n])
	}
	return s.verdict("Go", bytes)
}

func sendMessages(to io.Writer, seed uint64, count, longest int) error {
	for i, size := range messageSizes(seed, count, longest)[:count] {
		if _, err := to.Write(message(seed, i, size)); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

// receiveMessages wants each read to be one whole message. With toEnd nothing may follow the last.
func receiveMessages(who string, from io.Reader, seed uint64, count, longest int, toEnd bool) error {
	buf := make([]byte, 1<<16+1)
	for i, size := range messageSizes(seed, count, longest)[:count] {
		n, err := from.Read(buf)
		if err != nil {
			return fmt.Errorf("%s received %d of %d messages: %w", who, i, count, err)
		}
		if n != size {
			return fmt.Errorf("%s received message %d with %d bytes, not %d", who, i, n, size)
		}
		if !bytes.Equal(buf[:n], message(seed, i, size)) {
			return fmt.Errorf("%s received message %d with other content", who, i)
		}
	}
	if toEnd {
		if n, err := from.Read(buf); n > 0 || err != io.EOF {
			return fmt.Errorf("%s received %d bytes after the last message (%v)", who, n, err)
		}
	}
	return nil
}
