package netns

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// need skips a test where namespaces cannot be made.
func need(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("TUN devices need /dev/net/tun: ", err)
	}
}

func newSpace(t *testing.T) *Space {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A space has its own loopback, and the thread that has made it is where it was.
func TestSpaceIsItsOwn(t *testing.T) {
	need(t)
	s := newSpace(t)
	l, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := s.Dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err := newSpace(t).Dial(ctx, "tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("a listener of one space was reached from another")
	}
	links, err := s.Output("ip", "-o", "link")
	if err != nil || strings.Count(links, "\n") != 1 || !strings.Contains(links, "lo:") {
		t.Errorf("the links are %q, %v, want only lo", links, err)
	}
}

// Packets to addresses beyond the space come out of the device.
func TestTUN(t *testing.T) {
	need(t)
	s := newSpace(t)
	tun, err := s.TUN("tun0", "198.18.2.1", "198.18.2.2")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dialed := make(chan error, 1)
	go func() {
		_, err := s.Dial(ctx, "tcp", "198.18.1.1:50051")
		dialed <- err
	}()
	p := make([]byte, 2048)
	for {
		n, err := tun.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 20 && p[0]>>4 == 4 {
			if got := [2][4]byte{[4]byte(p[12:]), [4]byte(p[16:])}; got != [2][4]byte{{198, 18, 2, 1}, {198, 18, 1, 1}} {
				t.Errorf("a packet went from and to %v, want 198.18.2.1 and 198.18.1.1", got)
			}
			break
		}
	}
	cancel()
	if err := <-dialed; err == nil {
		t.Error("connected without anybody at the other side")
	}
	// A reader does not hold up Close.
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, tun)
		read <- err
	}()
	tun.Close()
	if err := <-read; err == nil {
		t.Error("reading a closed device returned no error")
	}
}
