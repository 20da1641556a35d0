package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	kcp "github.com/xtaci/kcp-go"
)

// icmp-echo is a whole site behind one kcp-go session in message mode: each read is one IP packet. It answers echo
// requests to any address, so that vpnd on the other end can be pinged through. What else comes is counted.

const (
	protocolICMP   = 1
	protocolICMPv6 = 58
	protocolNone   = 59 // IPv6's "no next header", used as an empty packet in both versions
)

type echoHost struct {
	answered, empty, other, malformed uint64
}

func icmpEchoMain(args []string) error {
	o := defaultOptions()
	o.message = true
	set := flag.NewFlagSet("icmp-echo", flag.ExitOnError)
	o.register(set)
	listen := set.String("listen", "", "HOST:PORT to wait on for sessions")
	dial := set.String("dial", "", "HOST:PORT to open a session to")
	inner := set.String("inner", "10.99.0.2", "own address inside, for the opening packet of a dialled session")
	set.Parse(args)
	host := &echoHost{}
	switch {
	case *dial != "":
		sess, conn, err := o.dial(*dial)
		if err != nil {
			return err
		}
		defer conn.Close()
		hello, err := emptyPacket(net.ParseIP(*inner))
		if err != nil {
			return err
		}
		if _, err := sess.Write(hello); err != nil {
			return err
		}
		fmt.Println("READY", conn.LocalAddr())
		go host.serve(sess)
	case *listen != "":
		l, err := o.listen(*listen)
		if err != nil {
			return err
		}
		defer l.close()
		fmt.Println("READY", l.conn.LocalAddr())
		go func() {
			for {
				sess, err := l.accept(time.Time{})
				if err != nil {
					return
				}
				go host.serve(sess)
			}
		}()
	default:
		return errors.New("one of --listen and --dial is required")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	fmt.Printf("answered %d, empty %d, other %d, malformed %d\n", atomic.LoadUint64(&host.answered),
		atomic.LoadUint64(&host.empty), atomic.LoadUint64(&host.other), atomic.LoadUint64(&host.malformed))
	if atomic.LoadUint64(&host.malformed) > 0 {
		return errors.New("a message was not one whole IP packet")
	}
	return nil
}

func (h *echoHost) serve(sess *kcp.UDPSession) {
	packet := make([]byte, 65536)
	for {
		n, err := sess.Read(packet)
		if err != nil {
			if !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(os.Stderr, "session ended:", err)
			}
			return
		}
		if counter, ok := h.answer(packet[:n]); ok {
			atomic.AddUint64(&h.answered, 1)
			sess.Write(packet[:n])
		} else {
			atomic.AddUint64(counter, 1)
		}
	}
}

// answer turns an echo request into its reply in place. If it is none, the counter says what it was.
func (h *echoHost) answer(packet []byte) (*uint64, bool) {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		header := int(packet[0]&15) * 4
		if header < 20 || header > len(packet) || int(binary.BigEndian.Uint16(packet[2:])) != len(packet) ||
			checksum(0, packet[:header]) != 0 {
			return &h.malformed, false
		}
		body := packet[header:]
		if packet[9] == protocolNone {
			return &h.empty, false
		}
		if packet[9] != protocolICMP || len(body) < 8 || body[0] != 8 {
			return &h.other, false
		}
		if checksum(0, body) != 0 {
			return &h.malformed, false
		}
		swap(packet[12:16], packet[16:20])
		body[0] = 0
		setChecksum(0, body)
		return nil, true
	case len(packet) >= 40 && packet[0]>>4 == 6:
		if int(binary.BigEndian.Uint16(packet[4:]))+40 != len(packet) {
			return &h.malformed, false
		}
		body := packet[40:]
		if packet[6] == protocolNone {
			return &h.empty, false
		}
		if packet[6] != protocolICMPv6 || len(body) < 8 || body[0] != 128 {
			return &h.other, false
		}
		pseudo := sum(0, packet[8:40]) + uint32(len(body)) + protocolICMPv6
		if checksum(pseudo, body) != 0 {
			return &h.malformed, false
		}
		swap(packet[8:24], packet[24:40])
		body[0] = 129
		setChecksum(pseudo, body)
		return nil, true
	}
	return &h.malformed, false
}

// emptyPacket is what a dialler opens with: a header only, from and to its own inner address.
func emptyPacket(address net.IP) ([]byte, error) {
	if v4 := address.To4(); v4 != nil {
		packet := make([]byte, 20)
		packet[0], packet[3], packet[8], packet[9] = 0x45, 20, 64, protocolNone
		copy(packet[12:], v4)
		copy(packet[16:], v4)
		binary.BigEndian.PutUint16(packet[10:], checksum(0, packet))
		return packet, nil
	}
	if address.To16() == nil {
		return nil, errors.New("--inner is no IP address")
	}
	packet := make([]byte, 40)
	packet[0], packet[6], packet[7] = 0x60, protocolNone, 64
	copy(packet[8:], address)
	copy(packet[24:], address)
	return packet, nil
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// setChecksum fills in an ICMP message's checksum, which stands at offset 2.
func setChecksum(pseudo uint32, body []byte) {
	body[2], body[3] = 0, 0
	binary.BigEndian.PutUint16(body[2:], checksum(pseudo, body))
}

// checksum is the Internet checksum; 0 over bytes that contain a right one.
func checksum(start uint32, b []byte) uint16 {
	s := sum(start, b)
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}
