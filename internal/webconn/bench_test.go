package webconn

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/conns"
)

// BenchmarkRequest1 measures all that is done for one HTTP/1.1 request beside the reads and writes.
func BenchmarkRequest1(b *testing.B) {
	s := New(newTracker(), &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	s.hook()
	c := s.newConn(&pipeEnd{})
	ctx := conns.NewContext(b.Context(), c)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		s.connState(c, http.StateActive)
		s.ServeHTTP(w, r)
		s.connState(c, http.StateIdle)
	}
}
