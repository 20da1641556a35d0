package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	kcp "github.com/xtaci/kcp-go"
)

// cat is kcpcat's command line on kcp-go. The suite can be pointed at it (--kcpcat "peer cat") to tell a fault of the
// suite from a fault of kcpcat: the reference must pass its own test.
type cat struct {
	options
	listening, keep, echo, sink, stats bool
	idle                               time.Duration
	lastHeard                          int64 // Unix nanoseconds of the last datagram, 0 = none yet
	inputEnded                         int32
}

// countingConn notes when a datagram came.
type countingConn struct {
	*net.UDPConn
	last *int64
}

func (c countingConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	if err == nil {
		atomic.StoreInt64(c.last, time.Now().UnixNano())
	}
	return n, from, err
}

func catMain(args []string) error {
	c := cat{options: defaultOptions()}
	set := flag.NewFlagSet("cat", flag.ExitOnError)
	c.register(set)
	set.BoolVar(&c.listening, "l", false, "listen")
	set.BoolVar(&c.keep, "k", false, "serve all sessions")
	set.BoolVar(&c.echo, "e", false, "echo")
	set.BoolVar(&c.sink, "sink", false, "discard and count")
	set.BoolVar(&c.stats, "stats", false, "counters as JSON on stderr")
	set.Bool("stream", true, "stream mode (the default)")
	idle := set.Float64("idle", 5, "seconds of silence before leaving")
	set.Parse(args)
	c.idle = time.Duration(*idle * float64(time.Second))
	c.wrap = func(conn *net.UDPConn) net.PacketConn { return countingConn{conn, &c.lastHeard} }
	rest := set.Args()
	if c.listening && len(rest) == 1 {
		rest = []string{"", rest[0]}
	}
	if len(rest) != 2 {
		return exitError(2)
	}
	address := net.JoinHostPort(rest[0], rest[1])
	var err error
	if c.listening {
		err = c.serve(address)
	} else {
		err = c.call(address)
	}
	if c.stats {
		snmp := kcp.DefaultSnmp.Copy()
		json.NewEncoder(os.Stderr).Encode(snmp)
	}
	return err
}

func (c *cat) call(address string) error {
	sess, conn, err := c.dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	go c.copyIn(sess)
	go c.copyOut(sess)
	c.untilSilent(time.Now())
	if atomic.LoadInt64(&c.lastHeard) == 0 || kcp.DefaultSnmp.Copy().InSegs == 0 {
		return exitError(8)
	}
	return nil
}

func (c *cat) serve(address string) error {
	l, err := c.listen(address)
	if err != nil {
		return err
	}
	defer l.close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if c.keep {
		go func() {
			for {
				sess, err := l.accept(time.Time{})
				if err != nil {
					return
				}
				go c.handle(sess)
			}
		}()
		<-stop
		return nil
	}
	sess, err := l.accept(time.Time{})
	if err != nil {
		return err
	}
	go c.handle(sess)
	atomic.StoreInt32(&c.inputEnded, 1)
	c.untilSilent(time.Now())
	return nil
}

func (c *cat) handle(sess *kcp.UDPSession) {
	switch {
	case c.sink:
		io.Copy(io.Discard, sess)
	case c.echo:
		buf := make([]byte, 65536)
		for {
			n, err := sess.Read(buf)
			if err != nil {
				return
			}
			sess.Write(buf[:n])
		}
	default:
		go c.copyIn(sess)
		c.copyOut(sess)
	}
}

func (c *cat) copyIn(sess *kcp.UDPSession) {
	defer atomic.StoreInt32(&c.inputEnded, 1)
	buf := make([]byte, 65536)
	for {
		n, err := readRetry(buf)
		if n == 0 || err != nil {
			return
		}
		if _, err := sess.Write(buf[:n]); err != nil {
			return
		}
	}
}

// readRetry is read(2) on standard input: one call, one record of a packet socket.
func readRetry(buf []byte) (int, error) {
	for {
		n, err := syscall.Read(0, buf)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

func (c *cat) copyOut(sess *kcp.UDPSession) {
	buf := make([]byte, 65536)
	for {
		n, err := sess.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) > 0; {
			m, err := syscall.Write(1, b)
			if err != nil && !errors.Is(err, syscall.EINTR) {
				if !strings.Contains(err.Error(), "broken pipe") {
					os.Exit(1)
				}
				return
			}
			if m > 0 {
				b = b[m:]
			}
		}
	}
}

// untilSilent returns once the input has ended and nothing was heard for the idle time.
func (c *cat) untilSilent(started time.Time) {
	for range time.Tick(20 * time.Millisecond) {
		heard := started
		if last := atomic.LoadInt64(&c.lastHeard); last != 0 {
			heard = time.Unix(0, last)
		}
		if atomic.LoadInt32(&c.inputEnded) == 1 && time.Since(heard) >= c.idle {
			return
		}
	}
}
