package fleet

import (
	"bufio"
	"fmt"
	"net"
	"testing"
)

// Connections go to the pods that were set, from the client's own address, and end with it.
func TestVIP(t *testing.T) {
	pod, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	go func() {
		for {
			nc, err := pod.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(nc.RemoteAddr().String())
			fmt.Fprintln(nc, host)
			nc.Close()
		}
	}()
	v, err := ListenVIP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ask := func() string {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.9.7")}}
		nc, err := d.Dial("tcp", v.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		line, _ := bufio.NewReader(nc).ReadString('\n')
		return line
	}
	if got := ask(); got != "" {
		t.Errorf("without a pod: got %q, want the end", got)
	}
	v.Set(pod.Addr().String())
	if got := ask(); got != "127.0.9.7\n" {
		t.Errorf("the pod sees the client %q, want 127.0.9.7", got)
	}
}
