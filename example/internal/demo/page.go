package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

//go:embed page.html
var pageHTML []byte

// page is the live page. Without -page it has no URL and no server.
type page struct {
	url string
	srv *http.Server
}

// servePage serves the page, and the state that the page fetches twice a second.
func servePage(ctx context.Context, addr string, b *board) (*page, error) {
	if addr == "" {
		return &page{}, nil
	}
	ln, err := listenNear(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("-page %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:")
		_, _ = w.Write(pageHTML)
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(b.snapshot())
	})
	p := &page{url: "http://" + ln.Addr().String() + "/", srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	go func() { _ = p.srv.Serve(ln) }()
	return p, nil
}

func (p *page) close() {
	if p.srv != nil {
		_ = p.srv.Close()
	}
}
