package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	kcp "github.com/xtaci/kcp-go"
)

// sessions measures what many quiet sessions cost kcp-go: one listener that echoes, N dialled sessions with a socket
// each, all in this process, kcptun's defaults (salsa20, FEC 10/3, mode fast, stream, windows of 1024, mtu 1350). Each
// session sends 100 bytes a second and waits for them to come back. After all are open and have echoed once, CPU time
// is taken over the given seconds. Prints: sessions seconds cpu_seconds rss_bytes_per_session.
const messageBytes = 100

type echoFleet struct {
	block    kcp.BlockCrypt
	listener *kcp.Listener
	echoed   uint64
	failed   uint64
}

func (f *echoFleet) tune(sess *kcp.UDPSession) {
	sess.SetStreamMode(true)
	sess.SetWriteDelay(false)
	sess.SetNoDelay(0, 30, 2, 1)
	sess.SetWindowSize(1024, 1024)
	sess.SetMtu(1350)
}

func (f *echoFleet) serve() {
	for {
		sess, err := f.listener.AcceptKCP()
		if err != nil {
			return
		}
		f.tune(sess)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, err := sess.Read(buf)
				if err != nil {
					return
				}
				sess.Write(buf[:n])
			}
		}()
	}
}

// client sends one message a second, first at its own place within the second.
func (f *echoFleet) client(phase time.Duration, opened *sync.WaitGroup, stop <-chan struct{}) {
	once := sync.Once{}
	ready := func() { once.Do(opened.Done) }
	defer ready()
	time.Sleep(phase)
	sess, err := kcp.DialWithOptions(f.listener.Addr().String(), f.block, 10, 3)
	if err != nil {
		atomic.AddUint64(&f.failed, 1)
		return
	}
	defer sess.Close()
	f.tune(sess)
	sess.SetReadDeadline(time.Now().Add(10 * time.Minute))
	message := make([]byte, messageBytes)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := sess.Write(message); err != nil {
			atomic.AddUint64(&f.failed, 1)
			return
		}
		for got := 0; got < messageBytes; {
			n, err := sess.Read(message[got:])
			if err != nil {
				atomic.AddUint64(&f.failed, 1)
				return
			}
			got += n
		}
		atomic.AddUint64(&f.echoed, 1)
		ready()
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func residentBytes() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func sessionsMain(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: compare sessions N SECONDS")
	}
	count, err := strconv.Atoi(args[0])
	if err != nil || count < 1 {
		return errors.New("N is a number of sessions")
	}
	seconds, err := strconv.Atoi(args[1])
	if err != nil || seconds < 1 {
		return errors.New("SECONDS is a number")
	}
	f := &echoFleet{}
	if f.block, err = kcp.NewSalsa20BlockCrypt(make([]byte, 32)); err != nil {
		return err
	}
	if f.listener, err = kcp.ListenWithOptions("127.0.0.1:0", f.block, 10, 3); err != nil {
		return err
	}
	f.listener.SetReadBuffer(4 << 20)
	f.listener.SetWriteBuffer(4 << 20)
	go f.serve()
	runtime.GC()
	before := residentBytes()

	var opened sync.WaitGroup
	stop := make(chan struct{})
	const opening = 3 * time.Second // the listener's backlog holds 128 sessions
	for i := 0; i < count; i++ {
		opened.Add(1)
		go f.client(opening*time.Duration(i)/time.Duration(count), &opened, stop)
	}
	opened.Wait()

	echoedBefore, cpuBefore, started := atomic.LoadUint64(&f.echoed), cpuSeconds(), time.Now()
	time.Sleep(time.Duration(seconds) * time.Second)
	elapsed, cpu := time.Since(started).Seconds(), cpuSeconds()-cpuBefore
	echoed := atomic.LoadUint64(&f.echoed) - echoedBefore
	rss := residentBytes() - before
	close(stop)
	if f.failed > 0 {
		return fmt.Errorf("%d sessions failed", f.failed)
	}
	if want := float64(count) * elapsed; float64(echoed) < 0.9*want {
		return fmt.Errorf("only %d echoes of %.0f in time", echoed, want)
	}
	fmt.Printf("%d %.3f %.3f %d\n", count, elapsed, cpu, rss/int64(count))
	return nil
}
