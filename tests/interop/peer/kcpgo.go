package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The ciphers of kcp-go 5.6.1.
var ciphers = []string{"aes", "aes-128", "aes-192", "tea", "twofish", "blowfish", "cast5", "3des", "xtea", "xor", "sm4",
	"salsa20", "none"}

// sizes are smaller where the program under test is a slow build.
type sizes struct {
	small, bulk int64
	loss        float64
}

func kcpgoMain(args []string) error {
	s := newSuite("kcpgo")
	small := s.set.Int64("bytes", 1<<20, "bytes each way of an ordinary case")
	bulk := s.set.Int64("bulk", 64<<20, "bytes of the long case")
	loss := s.set.Float64("loss", 5, "percent lost in each direction of the cases with loss")
	if err := s.parse(args); err != nil {
		return err
	}
	z := sizes{*small, *bulk, *loss / 100}
	cases := []testCase{
		{name: "wrong key: kcpcat dials and says that nothing arrived", limit: 30 * time.Second, run: wrongKeyDial},
		{name: "wrong key: kcpcat listens and hears nothing", limit: 30 * time.Second, run: wrongKeyListen},
	}
	for _, goDials := range []bool{true, false} {
		cases = append(cases, sleepCase(goDials))
	}
	for _, goDials := range []bool{true, false} {
		cases = append(cases, cipherCases(goDials, z)...)
		cases = append(cases, fecCases(goDials, z)...)
		cases = append(cases, messageCases(goDials, z)...)
		cases = append(cases, optionCases(goDials, z)...)
		cases = append(cases, bulkCase(goDials, z))
	}
	cases = append(cases, serverCases(z)...)
	return s.run(cases)
}

func direction(goDials bool) string {
	if goDials {
		return "go->kcpcat "
	}
	return "kcpcat->go "
}

// both makes a case of a stream each way with the same options at both ends.
func both(goDials bool, bytes int64, change func(o *options)) transfer {
	o := defaultOptions()
	if change != nil {
		change(&o)
	}
	return transfer{goDials: goDials, kcpcat: o, goe: o, toKcpcat: bytes, fromKcpcat: bytes}
}

func asCase(x transfer, format string, args ...interface{}) testCase {
	return testCase{name: direction(x.goDials) + fmt.Sprintf(format, args...), limit: 60 * time.Second,
		run: func(t *trial) error { return x.run(t) }}
}

func cipherCases(goDials bool, z sizes) (cases []testCase) {
	for _, cipher := range ciphers {
		x := both(goDials, z.small, func(o *options) { o.crypt = cipher })
		cases = append(cases, asCase(x, "cipher %s", cipher))
	}
	return cases
}

func shards(d, p int) func(o *options) {
	return func(o *options) { o.datashard, o.parityshard = d, p }
}

// Equal parameters, with loss; then unequal ones. There kcp-go 5.6.1 is spared two things that it does wrong: while it
// has other parameters than the sender it repairs losses all the same, and such a repair passes for a segment (a parity
// row sums up to 1, so what is equal in all packets, like conv and cmd, comes out right): it hands out bytes that nobody
// sent. With FEC off it does so without any loss, as its stand-in decoder of 1/1 takes each second parity packet for
// a copy of a lost one. So there is no loss towards a Go end with unequal parameters, and no parity towards one without
// FEC. kcpcat has to stand both.
func fecCases(goDials bool, z sizes) (cases []testCase) {
	for _, fec := range [][2]int{{0, 0}, {3, 1}, {20, 10}} {
		cases = append(cases, asCase(both(goDials, z.small, shards(fec[0], fec[1])), "FEC %d/%d", fec[0], fec[1]))
	}
	for _, fec := range [][2]int{{3, 1}, {10, 3}, {20, 10}} {
		x := lossyBothWays(both(goDials, z.small, shards(fec[0], fec[1])), z)
		x.recovers = true
		cases = append(cases, asCase(x, "FEC %d/%d, loss", fec[0], fec[1]))
	}
	for _, pair := range [][4]int{{10, 3, 3, 1}, {3, 1, 10, 3}, {0, 0, 10, 3}, {0, 0, 3, 1}} {
		x := both(goDials, z.small, shards(pair[0], pair[1]))
		shards(pair[2], pair[3])(&x.goe)
		name := fmt.Sprintf("FEC kcpcat %d/%d, Go %d/%d", pair[0], pair[1], pair[2], pair[3])
		clean := asCase(x, "%s", name)
		clean.notReference = pair[0] == 0
		x.loss, x.idle, x.recovers = z.loss, 4, true
		lossy := asCase(x, "%s, loss to kcpcat", name)
		lossy.notReference = true
		cases = append(cases, clean, lossy)
	}
	x := both(goDials, 4000, nil) // too few datagrams for a group
	shards(0, 0)(&x.goe)
	return append(cases, asCase(x, "FEC kcpcat 10/3, Go 0/0, no parity yet"))
}

func lossyBothWays(x transfer, z sizes) transfer {
	x.loss, x.lossToGo, x.idle = z.loss, z.loss, 4
	return x
}

func messageCases(goDials bool, z sizes) (cases []testCase) {
	message := func(o *options) { o.message = true }
	for _, lossy := range []bool{false, true} {
		x, path := both(goDials, 500, message), "clean path"
		if lossy {
			x, path = lossyBothWays(x, z), "loss"
		}
		x.kind = stdioPackets
		cases = append(cases, asCase(x, "messages of a segment, %s", path))
		x.fromKcpcat, x.longest = 60, 40000
		c := asCase(x, "messages of many segments, %s", path)
		c.notReference = true // a kcp-go session cuts its writes into segments
		cases = append(cases, c)
	}
	return cases
}

func optionCases(goDials bool, z sizes) (cases []testCase) {
	for _, mode := range []string{"normal", "fast2", "fast3"} {
		cases = append(cases, asCase(both(goDials, z.small, func(o *options) { o.mode = mode }), "mode %s", mode))
	}
	for _, mtu := range []int{576, 1500} {
		cases = append(cases, asCase(both(goDials, z.small, func(o *options) { o.mtu = mtu }), "mtu %d", mtu))
	}
	x := both(goDials, z.small, nil)
	x.goe.mtu, x.goe.mode, x.goe.sndwnd, x.goe.rcvwnd = 1200, "fast3", 128, 512
	cases = append(cases, asCase(x, "kcptun client's windows, mtu and mode at one end"))
	x = both(goDials, z.small, func(o *options) { o.sndwnd, o.rcvwnd = 32, 32 })
	cases = append(cases, asCase(x, "windows of 32"))
	x = both(goDials, z.small, func(o *options) { o.keyHex = strings.Repeat("0123456789abcdef", 4) })
	cases = append(cases, asCase(x, "raw key"))
	x = both(goDials, z.small, nil)
	x.host = "::1"
	cases = append(cases, asCase(x, "IPv6"))
	x = both(goDials, z.small, nil)
	x.kind = stdioFile
	cases = append(cases, asCase(x, "regular files as input and output"))
	x = both(goDials, z.small, nil)
	if goDials {
		x.goe.conv = 0xfffffffe
	} else {
		x.kcpcat.conv = 0xfffffffe
	}
	return append(cases, asCase(x, "conversation 0xfffffffe"))
}

// bulkCase is the long one, in the direction of the dialler. Where the processors are busy kcp-go measures RTTs of seconds and
// waits for several of them before it sends something again; kcpcat must not take that for the end.
func bulkCase(goDials bool, z sizes) testCase {
	x := lossyBothWays(both(goDials, z.bulk, func(o *options) { o.mode = "fast3" }), z)
	if goDials {
		x.fromKcpcat, x.recovers = 0, true
	} else {
		x.toKcpcat = 0
	}
	x.idle = 12
	c := asCase(x, "%d MB, %.0f %% loss, sha256", z.bulk>>20, z.loss*100)
	c.limit, c.alone = 120*time.Second, true
	return c
}

// sleepCase sends more than windows and pipes hold to a receiver that does not read for longer than a silent peer would
// be waited for. A shut window is not silence.
func sleepCase(goDials bool) testCase {
	x := both(goDials, 4<<20, nil)
	x.sleep = 17 * time.Second
	if goDials {
		x.fromKcpcat = 0
	} else {
		x.toKcpcat = 0
	}
	c := asCase(x, "the receiver sleeps for 17 s")
	c.notReference = goDials // its stand-in leaves meanwhile
	return c
}

func serverCases(z sizes) []testCase {
	echo := both(true, z.small, nil)
	echo.echo = true
	echoMessages := lossyBothWays(both(true, 500, func(o *options) { o.message = true }), z)
	echoMessages.echo = true
	sink := both(true, z.small, nil)
	sink.sink = true
	limit := 60 * time.Second
	return []testCase{
		asCase(echo, "-e echoes a stream"),
		asCase(echoMessages, "-e echoes messages, loss"),
		asCase(sink, "--sink counts"),
		{name: "go->kcpcat -k serves 16 sessions at once", limit: limit,
			run: func(t *trial) error { return manySessions(t, 16, z.small/16) }},
		{name: "go->kcpcat -k: a new conversation from the same address", limit: limit, run: sameAddress},
	}
}

// echoServer starts kcpcat -l -k -e and returns its address.
func echoServer(t *trial, o *options) (*child, string, error) {
	port, err := freePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	argv := append(append([]string{}, t.kcpcat...), o.argv()...)
	c, err := startChild(append(argv, "-l", "-k", "-e", "127.0.0.1", strconv.Itoa(port)), stdioPipe, "")
	if err != nil {
		return nil, "", err
	}
	c.stdin.Close()
	if err = c.waitBound("udp", port, t.deadline); err != nil {
		c.discard()
		return nil, "", err
	}
	return c, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// leavesOnTerm wants a server to be there still, and to leave in order when told to.
func leavesOnTerm(t *trial, c *child) error {
	select {
	case <-c.exited:
		return fmt.Errorf("kcpcat has left: %v [%s]", c.err, tail(c.stderr.String()))
	default:
	}
	c.terminate()
	status, err := c.status(t.deadline)
	if err == nil && status != 0 {
		err = fmt.Errorf("kcpcat left with status %d on SIGTERM [%s]", status, tail(c.stderr.String()))
	}
	return err
}

// echoOnce dials, sends bytes and wants them back.
func echoOnce(t *trial, o *options, address string, seed uint64, bytes int64) error {
	sess, conn, err := o.dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer sess.Close()
	sess.SetDeadline(t.deadline)
	sent := make(chan error, 1)
	go func() {
		content := make([]byte, bytes)
		newPattern(seed).fill(content)
		_, err := sess.Write(content)
		sent <- err
	}()
	if err := receiveStream(sess, seed, bytes); err != nil {
		return err
	}
	return <-sent
}

func manySessions(t *trial, count int, bytes int64) error {
	o := defaultOptions()
	c, address, err := echoServer(t, &o)
	if err != nil {
		return err
	}
	defer c.discard()
	var wait sync.WaitGroup
	failures := make(chan error, count)
	for i := 0; i < count; i++ {
		wait.Add(1)
		go func(seed uint64) {
			defer wait.Done()
			failures <- echoOnce(t, &o, address, seed, bytes)
		}(t.seed*1000 + uint64(i))
	}
	wait.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return fmt.Errorf("%w [kcpcat says: %s]", err, tail(c.stderr.String()))
		}
	}
	return leavesOnTerm(t, c)
}

// sameAddress is a program that restarts on its old port: a first segment of another conversation ends the old one.
func sameAddress(t *trial) error {
	o := defaultOptions()
	c, address, err := echoServer(t, &o)
	if err != nil {
		return err
	}
	defer c.discard()
	port, err := freePort("127.0.0.1")
	if err != nil {
		return err
	}
	o.local = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for i := uint(1); i <= 3; i++ {
		o.conv = i * 77
		if err := echoOnce(t, &o, address, t.seed+uint64(i), 50000); err != nil {
			return fmt.Errorf("conversation %d: %w", i, err)
		}
	}
	return leavesOnTerm(t, c)
}

func wrongKeyDial(t *trial) error {
	o := defaultOptions()
	l, err := o.listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.close()
	o.key = "another"
	argv := append(append([]string{}, t.kcpcat...), o.argv()...)
	c, err := startChild(append(argv, "--idle", "1", "127.0.0.1", strconv.Itoa(l.port())), stdioPipe, "")
	if err != nil {
		return err
	}
	defer c.discard()
	c.stdin.Write([]byte("nobody can read this"))
	c.stdin.Close()
	status, err := c.status(t.deadline)
	if err != nil {
		return fmt.Errorf("kcpcat %w", err)
	}
	if status != 8 {
		return fmt.Errorf("kcpcat left with status %d, not 8 [%s]", status, tail(c.stderr.String()))
	}
	if _, err := l.accept(time.Now().Add(10 * time.Millisecond)); err == nil {
		return errors.New("Go opened a session for it")
	}
	return nil
}

func wrongKeyListen(t *trial) error {
	o := defaultOptions()
	c, address, err := echoServer(t, &o)
	if err != nil {
		return err
	}
	defer c.discard()
	wrong := o
	wrong.key = "another"
	short := *t
	short.deadline = time.Now().Add(2 * time.Second)
	if err := echoOnce(&short, &wrong, address, 1, 1000); !isTimeout(err) {
		return fmt.Errorf("the stranger got %v, not a time-out", err)
	}
	if err := echoOnce(t, &o, address, 2, 1000); err != nil {
		return fmt.Errorf("the right key, after the wrong one: %w", err)
	}
	return leavesOnTerm(t, c)
}

func isTimeout(err error) bool {
	return err != nil && (errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "timeout"))
}
