package tracker

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// A server without credentials has no AuthInfo, tracked or not; others have their own.
func TestWrapKeepsAuthInfo(t *testing.T) {
	for name, creds := range map[string]credentials.TransportCredentials{"none": nil, "insecure": insecure.NewCredentials()} {
		raw, peer := net.Pipe()
		conn, info, err := Wrap(creds).ServerHandshake(raw)
		if err != nil || !ours(conn) || ours(raw) {
			t.Fatalf("%s: the connection is not tracked: %v", name, err)
		}
		if (info == nil) != (creds == nil) {
			t.Errorf("%s: got the AuthInfo %v", name, info)
		}
		conn.Close()
		peer.Close()
	}
}

// Each way to break the tracking breaks it, and none is chosen by default.
func TestBreak(t *testing.T) {
	t.Setenv(BreakEnv, "")
	creds := insecure.NewCredentials()
	if Break(creds) != creds {
		t.Error("the tracking is broken by default")
	}
	t.Setenv(BreakEnv, untracked)
	if Wrap(creds) != creds {
		t.Errorf("%s: tracks", untracked)
	}
	for name := range breakages {
		t.Setenv(BreakEnv, name)
		raw, peer := net.Pipe()
		conn, info, err := Break(creds).ServerHandshake(raw)
		if err != nil || conn == raw && info != nil {
			t.Errorf("%s breaks nothing: %v", name, err)
		}
		raw.Close()
		peer.Close()
	}
}

// written collects what is written.
type written struct {
	net.Conn
	buf bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) { return w.buf.Write(p) }

func TestDropByte(t *testing.T) {
	w := &written{}
	d := &dropByte{Conn: w, lost: 4}
	for _, part := range []string{"012", "345", "678"} {
		if n, err := d.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("Write returned %d, %v", n, err)
		}
	}
	if got := w.buf.String(); got != "01235678" {
		t.Errorf("got %q, want the byte 4 to be lost", got)
	}
}

// A process writes its counts over the previous ones.
func TestCounts(t *testing.T) {
	dir := t.TempDir()
	f := newFile(dir)
	f.add()
	f.add()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the files %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var c Counts
	if err := json.Unmarshal(text, &c); err != nil || c.Dir != f.dir || c.Tracked != 2 {
		t.Errorf("got %s, %v", text, err)
	}
}
