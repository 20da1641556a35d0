package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// pattern is an endless pseudo-random byte stream (SplitMix64) that both ends of a test make from a seed.
type pattern struct {
	state uint64
	rest  [8]byte
	left  int // bytes of rest not handed out yet
}

func newPattern(seed uint64) *pattern { return &pattern{state: seed} }

func (p *pattern) next() uint64 {
	p.state += 0x9e3779b97f4a7c15
	z := p.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// fill writes the next len(b) bytes of the stream, however it is cut.
func (p *pattern) fill(b []byte) {
	for p.left > 0 && len(b) > 0 {
		b[0] = p.rest[8-p.left]
		b, p.left = b[1:], p.left-1
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, p.next())
		b = b[8:]
	}
	if len(b) > 0 {
		binary.LittleEndian.PutUint64(p.rest[:], p.next())
		p.left = 8 - copy(b, p.rest[:])
	}
}

// sink takes a stream in and compares it with the pattern it should be.
type sink struct {
	want     *pattern
	scratch  []byte
	received hash.Hash
	expected hash.Hash
	bytes    int64
	wrongAt  int64 // offset of the first block that differs, or -1
}

func newSink(seed uint64) *sink {
	return &sink{want: newPattern(seed), received: sha256.New(), expected: sha256.New(), wrongAt: -1}
}

func (s *sink) Write(b []byte) (int, error) {
	if len(s.scratch) < len(b) {
		s.scratch = make([]byte, len(b))
	}
	want := s.scratch[:len(b)]
	s.want.fill(want)
	if s.wrongAt < 0 && !bytes.Equal(want, b) {
		s.wrongAt = s.bytes
		for i := range b {
			if b[i] != want[i] {
				s.wrongAt += int64(i)
				break
			}
		}
	}
	s.received.Write(b)
	s.expected.Write(want)
	s.bytes += int64(len(b))
	return len(b), nil
}

// verdict is nil if exactly `bytes` came and their SHA-256 is the pattern's.
func (s *sink) verdict(who string, bytes int64) error {
	got, want := s.received.Sum(nil), s.expected.Sum(nil)
	if s.bytes != bytes {
		return fmt.Errorf("%s received %d of %d bytes", who, s.bytes, bytes)
	}
	if s.wrongAt >= 0 || string(got) != string(want) {
		return fmt.Errorf("%s received other bytes from offset %d: sha256 %x, not %x", who, s.wrongAt, got, want)
	}
	return nil
}

// messageSizes are the lengths of count messages of 1 to max bytes; the ends of the range come first.
func messageSizes(seed uint64, count, max int) []int {
	p := newPattern(seed ^ 0x6d657373)
	sizes := []int{1, max}
	for len(sizes) < count {
		sizes = append(sizes, 1+int(p.next()%uint64(max)))
	}
	return sizes
}

// message makes the i-th message of a seed.
func message(seed uint64, i, size int) []byte {
	b := make([]byte, size)
	newPattern(seed*0x1000193 + uint64(i)).fill(b)
	return b
}

func randomUint32() uint32 {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}
