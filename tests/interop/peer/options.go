package main

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	kcp "github.com/xtaci/kcp-go"
	"golang.org/x/crypto/pbkdf2"
)

// options are what both ends of a session must agree on, under kcpcat's names.
type options struct {
	key         string
	keyHex      string
	crypt       string
	datashard   int
	parityshard int
	mode        string
	mtu         int
	sndwnd      int
	rcvwnd      int
	conv        uint
	message     bool

	local string                            // address a dialled session leaves from, empty = any
	wrap  func(*net.UDPConn) net.PacketConn // what kcp-go is given in place of the socket, or nil
}

func defaultOptions() options {
	return options{key: "it's a secrect", crypt: "salsa20", datashard: 10, parityshard: 3, mode: "fast", mtu: 1350,
		sndwnd: 1024, rcvwnd: 1024}
}

func (o *options) register(set *flag.FlagSet) {
	set.StringVar(&o.key, "key", o.key, "password")
	set.StringVar(&o.keyHex, "key-hex", o.keyHex, "raw key of 32 bytes")
	set.StringVar(&o.crypt, "crypt", o.crypt, "cipher")
	set.IntVar(&o.datashard, "datashard", o.datashard, "data shards of a FEC group, 0 = no FEC")
	set.IntVar(&o.parityshard, "parityshard", o.parityshard, "parity shards of a FEC group, 0 = no FEC")
	set.StringVar(&o.mode, "mode", o.mode, "normal, fast, fast2, fast3")
	set.IntVar(&o.mtu, "mtu", o.mtu, "UDP payload in bytes")
	set.IntVar(&o.sndwnd, "sndwnd", o.sndwnd, "send window in segments")
	set.IntVar(&o.rcvwnd, "rcvwnd", o.rcvwnd, "receive window in segments")
	set.UintVar(&o.conv, "conv", o.conv, "conversation number, 0 = random")
	set.BoolVar(&o.message, "message", o.message, "message mode")
}

// argv spells the options out for kcpcat.
func (o *options) argv() []string {
	args := []string{"--crypt", o.crypt, "--datashard", strconv.Itoa(o.datashard), "--parityshard",
		strconv.Itoa(o.parityshard), "--mode", o.mode, "--mtu", strconv.Itoa(o.mtu), "--sndwnd",
		strconv.Itoa(o.sndwnd), "--rcvwnd", strconv.Itoa(o.rcvwnd)}
	if o.keyHex != "" {
		args = append(args, "--key-hex", o.keyHex)
	} else {
		args = append(args, "--key", o.key)
	}
	if o.conv != 0 {
		args = append(args, "--conv", strconv.FormatUint(uint64(o.conv), 10))
	}
	if o.message {
		return append(args, "--message")
	}
	return append(args, "--stream")
}

// mss is the payload of one segment: what is left of the datagram after nonce and checksum (20), FEC (8), KCP (24).
func (o *options) mss() int {
	mss := o.mtu - 20 - 24
	if o.datashard > 0 && o.parityshard > 0 {
		mss -= 8
	}
	return mss
}

func (o *options) rawKey() ([]byte, error) {
	if o.keyHex == "" {
		return pbkdf2.Key([]byte(o.key), []byte("kcp-go"), 4096, 32, sha1.New), nil
	}
	raw, err := hex.DecodeString(o.keyHex)
	if err == nil && len(raw) != 32 {
		err = errors.New("a raw key has 32 bytes")
	}
	return raw, err
}

func (o *options) block() (kcp.BlockCrypt, error) {
	key, err := o.rawKey()
	if err != nil {
		return nil, err
	}
	switch o.crypt {
	case "salsa20":
		return kcp.NewSalsa20BlockCrypt(key)
	case "aes":
		return kcp.NewAESBlockCrypt(key)
	case "aes-128":
		return kcp.NewAESBlockCrypt(key[:16])
	case "aes-192":
		return kcp.NewAESBlockCrypt(key[:24])
	case "twofish":
		return kcp.NewTwofishBlockCrypt(key)
	case "blowfish":
		return kcp.NewBlowfishBlockCrypt(key)
	case "cast5":
		return kcp.NewCast5BlockCrypt(key[:16])
	case "3des":
		return kcp.NewTripleDESBlockCrypt(key[:24])
	case "tea":
		return kcp.NewTEABlockCrypt(key[:16])
	case "xtea":
		return kcp.NewXTEABlockCrypt(key[:16])
	case "sm4":
		return kcp.NewSM4BlockCrypt(key[:16])
	case "xor":
		return kcp.NewSimpleXORBlockCrypt(key)
	case "none":
		return kcp.NewNoneBlockCrypt(key)
	}
	return nil, fmt.Errorf("kcp-go 5.6.1 has no cipher %q", o.crypt)
}

func (o *options) apply(sess *kcp.UDPSession) error {
	intervals := map[string]int{"normal": 40, "fast": 30, "fast2": 20, "fast3": 10}
	interval, ok := intervals[o.mode]
	if !ok {
		return fmt.Errorf("unknown mode %q", o.mode)
	}
	nodelay, resend := 0, 2
	if o.mode == "fast2" || o.mode == "fast3" {
		nodelay = 1
	}
	sess.SetStreamMode(!o.message)
	sess.SetWriteDelay(false)
	sess.SetNoDelay(nodelay, interval, resend, 1)
	sess.SetWindowSize(o.sndwnd, o.rcvwnd)
	sess.SetMtu(o.mtu)
	return nil
}

// bindUDP opens a socket whose buffers hold a whole window of datagrams; as root past the system's limit. Otherwise a
// burst on the loopback is lost in the socket, and the test measures that.
func bindUDP(address string) (*net.UDPConn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	const bytes = 4 << 20
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	force := func(fd uintptr, forced, plain int) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, forced, bytes) != nil {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, plain, bytes)
		}
	}
	raw.Control(func(fd uintptr) {
		force(fd, syscall.SO_RCVBUFFORCE, syscall.SO_RCVBUF)
		force(fd, syscall.SO_SNDBUFFORCE, syscall.SO_SNDBUF)
	})
	return conn, nil
}

func (o *options) packets(conn *net.UDPConn) net.PacketConn {
	if o.wrap != nil {
		return o.wrap(conn)
	}
	return conn
}

// dial opens a session from a socket of its own; closing the returned socket ends it.
func (o *options) dial(remote string) (*kcp.UDPSession, *net.UDPConn, error) {
	block, err := o.block()
	if err != nil {
		return nil, nil, err
	}
	addr, err := net.ResolveUDPAddr("udp", remote)
	if err != nil {
		return nil, nil, err
	}
	local := "127.0.0.1:0"
	if o.local != "" {
		local = o.local
	} else if !addr.IP.IsLoopback() {
		local = ":0"
	} else if addr.IP.To4() == nil {
		local = "[::1]:0"
	}
	conn, err := bindUDP(local)
	if err != nil {
		return nil, nil, err
	}
	conv := uint32(o.conv)
	if conv == 0 {
		conv = randomUint32()
	}
	sess, err := kcp.NewConn3(conv, addr, block, o.datashard, o.parityshard, o.packets(conn))
	if err == nil {
		err = o.apply(sess)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return sess, conn, nil
}

// kcpListener is kcp-go's listener together with the socket it was given and does not close.
type kcpListener struct {
	*kcp.Listener
	conn *net.UDPConn
	opts options
}

func (o *options) listen(address string) (*kcpListener, error) {
	block, err := o.block()
	if err != nil {
		return nil, err
	}
	conn, err := bindUDP(address)
	if err != nil {
		return nil, err
	}
	listener, err := kcp.ServeConn(block, o.datashard, o.parityshard, o.packets(conn))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &kcpListener{listener, conn, *o}, nil
}

func (l *kcpListener) port() int { return l.conn.LocalAddr().(*net.UDPAddr).Port }

func (l *kcpListener) accept(deadline time.Time) (*kcp.UDPSession, error) {
	l.SetReadDeadline(deadline)
	sess, err := l.AcceptKCP()
	if err != nil {
		return nil, err
	}
	return sess, l.opts.apply(sess)
}

func (l *kcpListener) close() {
	l.Listener.Close()
	l.conn.Close()
}
