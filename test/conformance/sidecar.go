package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sidecarProgram is where the part sidecar has built it.
var sidecarProgram string

// sidecar compares the outcome of each case of h2spec on a bare server, and on one behind
// evenkeel-sidecar.
func sidecar(ctx context.Context, o *options) (bool, error) {
	sidecarProgram = filepath.Join(o.tmp, "evenkeel-sidecar")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", sidecarProgram, ".")
	cmd.Dir = filepath.Join(o.root, "cmd", "evenkeel-sidecar")
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return eachWire(func(w wire) (bool, error) { return h2specOver(ctx, o, w, behind) })
}

// serveBehind starts a bare plaintext server and the sidecar before it, which ends TLS.
func serveBehind(w wire) (*server, error) {
	s, err := serve(bare, plaintext)
	if err != nil {
		return nil, err
	}
	addr, stop, err := startSidecar(w, s.addr)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	stopServer := s.stop
	s.addr, s.stop = addr, func() error { stop(); return stopServer() }
	return s, nil
}

func startSidecar(w wire, upstream string) (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "sidecar")
	if err != nil {
		return "", nil, err
	}
	args := []string{"-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-upstream", upstream, "-log-level", "error"}
	if w == overTLS {
		files, err := certificateFiles(dir)
		if err != nil {
			return "", nil, err
		}
		args = append(args, files...)
	}
	cmd := exec.Command(sidecarProgram, args...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	// It prints: POD serves listen=ADDRESS http=ADDRESS upstream=ADDRESS
	line, err := bufio.NewReader(stdout).ReadString('\n')
	for word := range strings.FieldsSeq(line) {
		if rest, ok := strings.CutPrefix(word, "listen="); ok {
			_, _, err = net.SplitHostPort(rest)
			return rest, stop, err
		}
	}
	stop()
	return "", nil, fmt.Errorf("the sidecar printed %q, %w", line, err)
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
