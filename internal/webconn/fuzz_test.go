package webconn

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// describe answers with what it has got.
func describe(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %d %q %v %s", r.Method, r.URL, r.Proto, len(r.Header), body, err != nil, r.RemoteAddr)
}

// Whatever a client sends, and wherever it is cut, a tracked server answers as a bare one.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"PUT / HTTP/1.1\r\n\r\n", "PR", "P", "PRINT / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/3.7\r\n\r\n", strings.Repeat("a", 5000),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		for _, cut := range []int{0, 1, 2, 3, len(seed) / 2} {
			f.Add([]byte(seed), cut)
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut int) {
		if cut < 0 || cut > len(sent) {
			cut = 0
		}
		synctest.Test(t, func(t *testing.T) {
			bare, trackedAnswers := answers(t, false, sent, cut), answers(t, true, sent, cut)
			if !bytes.Equal(bare, trackedAnswers) {
				t.Errorf("%q, cut at %d: a bare server answers\n%q\nand a tracked one\n%q", sent, cut, bare, trackedAnswers)
			}
		})
	})
}

// answers returns all that a server sends to a client that sends these bytes in two parts.
func answers(t *testing.T, tracked bool, sent []byte, cut int) []byte {
	t.Helper()
	web := &http.Server{Handler: http.HandlerFunc(describe), ReadTimeout: time.Second, ErrorLog: silent}
	l := newPipes()
	serve := web.Serve
	trk := newTracker()
	if tracked {
		serve = New(trk, web).Serve
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(l) }()
	nc := l.dial()
	sender := make(chan struct{})
	go func() { defer close(sender); send(nc, sent[:cut], sent[cut:]) }()
	got, _ := io.ReadAll(nc) // the server closes a connection that says nothing more
	_ = nc.Close()
	<-sender
	_ = web.Close()
	<-done
	synctest.Wait()
	if n := trk.Totals().Connections; n != 0 {
		t.Errorf("%d connections are left in the registry", n)
	}
	return dates.ReplaceAll(got, nil)
}

var dates = regexp.MustCompile(`Date: [^\r]*\r\n`)

func send(nc net.Conn, parts ...[]byte) {
	for _, p := range parts {
		if _, err := nc.Write(p); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
