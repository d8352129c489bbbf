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

// The overlay of connect's server that is made with connect-go: a variable of its package, which
// serves each of its net/http servers.
const (
	goServer    = "cmd/referenceserver"
	webPackage  = "internal/app/referenceserver"
	webHookText = `package referenceserver

import (
	"net"
	"net/http"
)

// EvenkeelServe serves a server of net/http; nil leaves that to the server.
var EvenkeelServe func(*http.Server, net.Listener) error
`
	webAnchor   = "\nfunc (s *stdHTTPServer) Serve() error {\n"
	webInserted = `	if EvenkeelServe != nil {
		return EvenkeelServe(s.svr, s.lis)
	}
`
	webSetter = `package main

import (
	"connectrpc.com/conformance/internal/app/referenceserver"

	"%s/tracker"
)

func init() { referenceserver.EvenkeelServe = tracker.Serve }
`
	// webConf leaves out of connect's own list for this server HTTP/3, which is not tracked, and
	// most compressions, which do not depend on how a server is tracked.
	webConfFile = "testing/evenkeel-config.yaml"
	webConf     = `features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB]
  codecs: [CODEC_PROTO, CODEC_JSON]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsTlsClientCerts: true
  supportsHalfDuplexBidiOverHttp1: true
`
)

// webHooks returns the files of connect's conformance module in dir that are replaced or added.
func webHooks(dir string) (map[string]string, error) {
	file := filepath.Join(dir, webPackage, "server.go")
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	patched, err := insert(string(source), webAnchor, webInserted)
	return map[string]string{
		file: patched,
		filepath.Join(dir, webPackage, "evenkeel_conformance.go"): webHookText,
		filepath.Join(dir, goServer, "evenkeel_conformance.go"):   fmt.Sprintf(webSetter, thisModule),
	}, err
}

// patch makes the tracked version of NewServerTransport's file.
func patch(source string) (string, error) {
	return insert(source, anchor, inserted)
}

// insert inserts statements at the beginning of a function.
func insert(source, function, statements string) (string, error) {
	if n := strings.Count(source, function); n != 1 {
		return "", fmt.Errorf("this version has %d functions %q, want 1: adapt overlay.go", n, strings.TrimSpace(function))
	}
	return strings.Replace(source, function, function+statements, 1), nil
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
