package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// sidecarProgram is where the part sidecar has built it.
var sidecarProgram string

// sidecar compares the outcome of each case of h2spec on a bare server, and on one behind
// evenkeel-sidecar. Then it runs grpc's interop test cases through the sidecar, which drains
// meanwhile.
func sidecar(ctx context.Context, o *options) (bool, error) {
	sidecarProgram = filepath.Join(o.tmp, "evenkeel-sidecar")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", sidecarProgram, ".")
	cmd.Dir = filepath.Join(o.root, "cmd", "evenkeel-sidecar")
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return h2specAndInterop(ctx, o, behind, behindDrained)
}

// h2specAndInterop runs both, one after the other, each with servers of a kind.
func h2specAndInterop(ctx context.Context, o *options, forSpec, forInterop serverKind) (bool, error) {
	goodSpec, err := eachWire(func(w wire) (bool, error) { return h2specOver(ctx, o, w, forSpec) })
	if err != nil {
		return false, err
	}
	goodInterop, err := eachWire(func(w wire) (bool, error) { return interopOver(ctx, o, w, forInterop) })
	return goodSpec && goodInterop, err
}

// serveBehind starts a bare plaintext server and the sidecar before it, which ends TLS.
func serveBehind(w wire, args ...string) (*server, error) {
	s, err := serve(bare, plaintext)
	if err != nil {
		return nil, err
	}
	addrs, stop, err := startSidecar(w, s.addr, args...)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	stopServer := s.stop
	s.addr, s.stop = addrs["listen"], func() error { stop(); return stopServer() }
	s.status = func() (rebalance.Status, error) { return fetchStatus(addrs["http"]) }
	return s, nil
}

// sidecarAge is the least maximum age of a connection. The sidecar then drains one connection a
// second.
const sidecarAge = "policy.maxConnectionAge=1s"

// startSidecar starts a sidecar and returns its addresses, by the names of their flags.
func startSidecar(w wire, upstream string, args ...string) (addrs map[string]string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "sidecar")
	if err != nil {
		return nil, nil, err
	}
	args = append(args, "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-upstream", upstream, "-log-level", "error")
	if w == overTLS {
		files, err := certificateFiles(dir)
		if err != nil {
			return nil, nil, err
		}
		args = append(args, files...)
	}
	cmd := exec.Command(sidecarProgram, args...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	// It prints: POD serves listen=ADDRESS http=ADDRESS upstream=ADDRESS
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addrs = make(map[string]string)
	for word := range strings.FieldsSeq(line) {
		if name, addr, ok := strings.Cut(word, "="); ok {
			addrs[name] = addr
		}
	}
	if addrs["listen"] == "" || addrs["http"] == "" {
		stop()
		return nil, nil, fmt.Errorf("the sidecar printed %q, %w", line, err)
	}
	return addrs, stop, nil
}

// fetchStatus fetches the status of a sidecar.
func fetchStatus(addr string) (rebalance.Status, error) {
	var status rebalance.Status
	resp, err := http.Get("http://" + addr + "/statusz")
	if err != nil {
		return status, err
	}
	defer resp.Body.Close()
	return status, json.NewDecoder(resp.Body).Decode(&status)
}

// certificateFiles writes the certificate of all servers, and returns the flags that name it.
func certificateFiles(dir string) (flags []string, err error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	err = errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return []string{"-tls-cert", certFile, "-tls-key", keyFile}, err
}
