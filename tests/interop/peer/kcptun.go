package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/xtaci/smux"
)

// The packaged kcptun carries TCP connections as smux streams over one KCP session. kcpcat knows nothing of smux: it
// carries the bytes. So the test puts the packaged smux in front of kcpcat's standard input and output:
//
//	smux client - kcpcat ==KCP==> kcptun-server - TCP echo
//	TCP client - kcptun-client ==KCP==> kcpcat -l - smux server that echoes

func kcptunMain(args []string) error {
	s := newSuite("kcptun")
	server := s.set.String("server", "kcptun-server", "packaged server")
	client := s.set.String("client", "kcptun-client", "packaged client")
	bytes := s.set.Int64("bytes", 1<<20, "bytes each way on each stream")
	if err := s.parse(args); err != nil {
		return err
	}
	o := defaultOptions()
	unequal := o
	unequal.mtu, unequal.mode, unequal.sndwnd, unequal.rcvwnd = 1400, "fast3", 128, 512
	x := kcptunPrograms{*server, *client, *bytes}
	limit := 60 * time.Second
	return s.run([]testCase{
		{name: "kcpcat -> kcptun-server, one stream", limit: limit,
			run: func(t *trial) error { return x.toServer(t, o, o, 1) }},
		{name: "kcpcat -> kcptun-server, four streams", limit: limit,
			run: func(t *trial) error { return x.toServer(t, o, o, 4) }},
		{name: "kcpcat -> kcptun-server, other mtu, mode and windows", limit: limit,
			run: func(t *trial) error { return x.toServer(t, unequal, o, 1) }},
		{name: "kcptun-client -> kcpcat, one stream", limit: limit,
			run: func(t *trial) error { return x.fromClient(t, o, o, 1) }},
		{name: "kcptun-client -> kcpcat, four streams", limit: limit,
			run: func(t *trial) error { return x.fromClient(t, o, o, 4) }},
		{name: "kcptun-client -> kcpcat, other mtu, mode and windows", limit: limit,
			run: func(t *trial) error { return x.fromClient(t, unequal, o, 1) }},
	})
}

type kcptunPrograms struct {
	server, client string
	bytes          int64
}

// kcptunArgv is kcptun's spelling of the options.
func kcptunArgv(o options) []string {
	return []string{"--nocomp", "--quiet", "--key", o.key, "--crypt", o.crypt, "--mode", o.mode, "--mtu",
		strconv.Itoa(o.mtu), "--sndwnd", strconv.Itoa(o.sndwnd), "--rcvwnd", strconv.Itoa(o.rcvwnd), "--datashard",
		strconv.Itoa(o.datashard), "--parityshard", strconv.Itoa(o.parityshard)}
}

// childConn is kcpcat's standard input and output as one connection.
type childConn struct{ *child }

func (c childConn) Read(b []byte) (int, error)  { return c.stdout.Read(b) }
func (c childConn) Write(b []byte) (int, error) { return c.stdin.Write(b) }
func (c childConn) Close() error                { return c.stdin.Close() }

func startQuiet(argv []string) (*child, error) {
	c, err := startChild(argv, stdioPipe, "")
	if err == nil {
		c.stdin.Close()
	}
	return c, err
}

func (x *kcptunPrograms) toServer(t *trial, ours, theirs options, streams int) error {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer target.Close()
	go func() {
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	port, err := freePort("127.0.0.1")
	if err != nil {
		return err
	}
	server, err := startQuiet(append([]string{x.server, "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--target",
		target.Addr().String()}, kcptunArgv(theirs)...))
	if err != nil {
		return err
	}
	defer server.discard()
	if err = server.waitBound("udp", port, t.deadline); err != nil {
		return fmt.Errorf("kcptun-server: %w", err)
	}
	argv := append(append([]string{}, t.kcpcat...), ours.argv()...)
	cat, err := startChild(append(argv, "--idle", "1", "127.0.0.1", strconv.Itoa(port)), stdioPipe, "")
	if err != nil {
		return err
	}
	defer cat.discard()
	mux, err := smux.Client(childConn{cat}, smux.DefaultConfig())
	if err != nil {
		return err
	}
	results := make(chan error, streams)
	for i := 0; i < streams; i++ {
		stream, err := mux.OpenStream()
		if err != nil {
			return err
		}
		go func(seed uint64) { results <- x.echoed(t, stream, seed) }(t.seed*100 + uint64(i))
	}
	if err := collect(results, streams); err != nil {
		return fmt.Errorf("%w [kcpcat says: %s]", err, tail(cat.stderr.String()))
	}
	mux.Close() // closes kcpcat's input, and then it leaves
	status, err := cat.status(t.deadline)
	if err != nil || status != 0 {
		return fmt.Errorf("kcpcat: status %d, %v [%s]", status, err, tail(cat.stderr.String()))
	}
	return nil
}

func (x *kcptunPrograms) fromClient(t *trial, ours, theirs options, streams int) error {
	port, err := freePort("127.0.0.1")
	if err != nil {
		return err
	}
	argv := append(append([]string{}, t.kcpcat...), ours.argv()...)
	cat, err := startChild(append(argv, "--idle", "2", "-l", "127.0.0.1", strconv.Itoa(port)), stdioPipe, "")
	if err != nil {
		return err
	}
	defer cat.discard()
	if err = cat.waitBound("udp", port, t.deadline); err != nil {
		return fmt.Errorf("kcpcat: %w", err)
	}
	mux, err := smux.Server(childConn{cat}, smux.DefaultConfig())
	if err != nil {
		return err
	}
	go func() {
		for {
			stream, err := mux.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				defer stream.Close()
				io.Copy(struct{ io.Writer }{stream}, struct{ io.Reader }{stream})
			}()
		}
	}()
	local, err := freeTCPPort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", local)
	client, err := startQuiet(append([]string{x.client, "--localaddr", address, "--remoteaddr",
		fmt.Sprintf("127.0.0.1:%d", port)}, kcptunArgv(theirs)...))
	if err != nil {
		return err
	}
	defer client.discard()
	if err = client.waitBound("tcp", local, t.deadline); err != nil {
		return fmt.Errorf("kcptun-client: %w", err)
	}
	results := make(chan error, streams)
	for i := 0; i < streams; i++ {
		conn, err := net.DialTimeout("tcp", address, time.Until(t.deadline))
		if err != nil {
			return err
		}
		go func(seed uint64) { results <- x.echoed(t, conn, seed) }(t.seed*100 + uint64(i))
	}
	if err := collect(results, streams); err != nil {
		return fmt.Errorf("%w [kcpcat says: %s]", err, tail(cat.stderr.String()))
	}
	mux.Close() // the client says no more than a NOP in 10 s, so kcpcat leaves
	status, err := cat.status(t.deadline)
	if err != nil || status != 0 {
		return fmt.Errorf("kcpcat: status %d, %v [%s]", status, err, tail(cat.stderr.String()))
	}
	return nil
}

// echoed sends the pattern on a connection, wants it back, and closes it.
func (x *kcptunPrograms) echoed(t *trial, conn net.Conn, seed uint64) error {
	defer conn.Close()
	conn.SetDeadline(t.deadline)
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{conn}, io.LimitReader(patternReader{newPattern(seed)}, x.bytes))
		sent <- err
	}()
	if err := receiveStream(conn, seed, x.bytes); err != nil {
		return err
	}
	return <-sent
}

func collect(results chan error, count int) (err error) {
	for i := 0; i < count; i++ {
		if e := <-results; e != nil && err == nil {
			err = e
		}
	}
	return err
}

func freeTCPPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address")
	}
	return addr.Port, nil
}
