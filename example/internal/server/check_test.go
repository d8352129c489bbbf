package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// -check is for helm test in an image that has no other program.
func TestCheck(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/stopping", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "stopping", http.StatusServiceUnavailable) })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for _, tc := range []struct {
		url, out, err string
		code          int
	}{
		{plain.URL + "/readyz", "ok", "", exitOK},
		{secure.URL + "/readyz", "ok", "", exitOK},
		{plain.URL + "/stopping", "stopping", "503 Service Unavailable", exitFail},
		{"http://127.0.0.1:1/readyz", "", "connection refused", exitFail},
	} {
		var stdout, stderr bytes.Buffer
		code := Main([]string{"-check=" + tc.url}, &stdout, &stderr)
		if code != tc.code || strings.TrimSpace(stdout.String()) != tc.out || !strings.Contains(stderr.String(), tc.err) {
			t.Errorf("%s: exit status %d, %q and %q on stderr, want %d, %q and %q", tc.url, code, stdout.String(), stderr.String(), tc.code, tc.out, tc.err)
		}
	}
}
