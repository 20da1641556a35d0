package main

import (
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// relay forwards datagrams between any number of clients and one target and loses some on the way, in each direction
// with its own probability and generator. Each client gets a socket of its own towards the target, so the target tells them apart.
type relay struct {
	front  *net.UDPConn
	target *net.UDPAddr
	there  float64 // probability that a datagram to the target is lost
	back   float64 // and one to a client
	seed   int64

	mu      sync.Mutex
	clients map[string]*net.UDPConn

	forwarded, lost uint64
}

// startRelay listens on a UDP address. there and back are probabilities of loss, 0 to 1.
func startRelay(listen, target string, there, back float64, seed int64) (*relay, error) {
	addr, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		return nil, err
	}
	front, err := bindUDP(listen)
	if err != nil {
		return nil, err
	}
	r := &relay{front: front, target: addr, there: there, back: back, seed: seed, clients: map[string]*net.UDPConn{}}
	go r.forward()
	return r, nil
}

func (r *relay) address() string { return r.front.LocalAddr().String() }

func (r *relay) close() {
	r.front.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, back := range r.clients {
		back.Close()
	}
}

func (r *relay) summary() string {
	return fmt.Sprintf("relay forwarded %d, lost %d", atomic.LoadUint64(&r.forwarded), atomic.LoadUint64(&r.lost))
}

// pass judges one datagram.
func (r *relay) pass(dice *rand.Rand, loss float64) bool {
	if dice.Float64() < loss {
		atomic.AddUint64(&r.lost, 1)
		return false
	}
	atomic.AddUint64(&r.forwarded, 1)
	return true
}

func (r *relay) forward() {
	dice := rand.New(rand.NewSource(r.seed))
	buf := make([]byte, 2048)
	for {
		n, from, err := r.front.ReadFromUDP(buf)
		if err != nil {
			return
		}
		back := r.client(from)
		if back == nil {
			return
		}
		if r.pass(dice, r.there) {
			back.WriteToUDP(buf[:n], r.target) // a refused datagram is a lost one
		}
	}
}

func (r *relay) client(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if back := r.clients[from.String()]; back != nil {
		return back
	}
	local := "127.0.0.1:0"
	if r.target.IP.To4() == nil {
		local = "[::1]:0"
	}
	back, err := bindUDP(local)
	if err != nil {
		return nil
	}
	r.clients[from.String()] = back
	go r.backward(back, from, r.seed+int64(len(r.clients)))
	return back
}

func (r *relay) backward(back *net.UDPConn, to *net.UDPAddr, seed int64) {
	dice := rand.New(rand.NewSource(seed))
	buf := make([]byte, 2048)
	for {
		n, _, err := back.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if r.pass(dice, r.back) {
			r.front.WriteToUDP(buf[:n], to)
		}
	}
}

func relayMain(args []string) error {
	set := flag.NewFlagSet("relay", flag.ExitOnError)
	listen := set.String("listen", "127.0.0.1:0", "where clients send to")
	target := set.String("target", "", "where their datagrams go")
	loss := set.Float64("loss", 5, "percent lost in each direction")
	seed := set.Int64("seed", 1, "seed of the losses")
	set.Parse(args)
	r, err := startRelay(*listen, *target, *loss/100, *loss/100, *seed)
	if err != nil {
		return err
	}
	defer r.close()
	fmt.Println("READY", r.address())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	fmt.Println(r.summary())
	return nil
}
