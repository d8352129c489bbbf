package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The overlay of grpc-go: a variable in its package credentials, which NewServerTransport
// passes each server's credentials through.
const (
	hookFile = "credentials/evenkeel_conformance.go"
	hookText = `package credentials

// EvenkeelHook wraps the credentials of every server; nil leaves them as they are.
var EvenkeelHook func(TransportCredentials) TransportCredentials
`
	patchedFile = "internal/transport/http2_server.go"
	anchor      = "\nfunc NewServerTransport(conn net.Conn, config *ServerConfig) (_ ServerTransport, err error) {\n"
	inserted    = `	if hook := credentials.EvenkeelHook; hook != nil {
		tracked := *config
		tracked.Credentials = hook(config.Credentials)
		config = &tracked
	}
`
)

// setter is a file that sets the hook. Added to a package's external tests it can import
// evenkeel, and with it grpc, without a cycle.
const setter = `package %s

import (
	"google.golang.org/grpc/credentials"

	"%s/tracker"
)

func init() { credentials.EvenkeelHook = tracker.Wrap }
`

// patch makes the tracked version of NewServerTransport's file.
func patch(source string) (string, error) {
	if n := strings.Count(source, anchor); n != 1 {
		return "", fmt.Errorf("%s of this grpc-go has %d functions %q, want 1: adapt overlay.go", patchedFile, n, strings.TrimSpace(anchor))
	}
	return strings.Replace(source, anchor, anchor+inserted, 1), nil
}

// hooks returns the files of grpc-go in dir that are replaced or added.
func hooks(dir string) (map[string]string, error) {
	source, err := os.ReadFile(filepath.Join(dir, patchedFile))
	if err != nil {
		return nil, err
	}
	patched, err := patch(string(source))
	if err != nil {
		return nil, err
	}
	return map[string]string{
		filepath.Join(dir, patchedFile): patched,
		filepath.Join(dir, hookFile):    hookText,
	}, nil
}

// writeOverlay writes the files of an overlay, and the file that names them, to at.
func writeOverlay(at string, files map[string]string) error {
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	replace := make(map[string]string)
	for name, text := range files {
		to := filepath.Join(at, fmt.Sprintf("%03d-%s", len(replace), filepath.Base(name)))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return err
		}
		replace[name] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at, overlayFile), text, 0o644)
}

const overlayFile = "overlay.json"
