package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// All invalid flags and settings are named at once, on one line, with exit status 2.
func TestInvalidFlagsAndSettings(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("rebalance:\n  tolerances: 0.2\nshutdown:\n  timeout: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown flag", []string{"-nope"}, []string{"-nope"}},
		{"arguments", []string{"a", "b"}, []string{`"a b"`}},
		{"addresses", []string{"-listen", "nowhere", "-http", "127.0.0.1:http-alt-x"}, []string{"-listen", "-http"}},
		{"upstream without port", []string{"-upstream", "127.0.0.1"}, []string{"-upstream", "unix:/path"}},
		{"upstream without host", []string{"-upstream", ":50052"}, []string{"-upstream"}},
		{"upstream without path", []string{"-upstream", "unix:"}, []string{"-upstream"}},
		{"upstream is itself", []string{"-upstream", "127.0.0.1:1", "-listen", "127.0.0.1:1"}, []string{"-upstream", "itself"}},
		{"upstream is itself on loopback", []string{"-upstream", "127.0.0.1:50051", "-listen", ":50051"}, []string{"-upstream", "itself"}},
		{"upstream is itself by name", []string{"-upstream", "localhost:50051", "-listen", "0.0.0.0:50051"}, []string{"-upstream", "itself"}},
		{"certificate without key", []string{"-tls-cert", "x"}, []string{"-tls-cert and -tls-key"}},
		{"client CA without TLS", []string{"-tls-client-ca", "x"}, []string{"-tls-client-ca"}},
		{"missing TLS files", []string{"-tls-cert", "/no/cert", "-tls-key", "/no/key"}, []string{"-tls-cert", "/no/cert"}},
		{"settings", []string{"-set", "rebalance.tolerance=7", "-set", "peers.sauce=dns"}, []string{"rebalance.tolerance", "peers.sauce"}},
		{"strict", []string{"-strict", "-set", "peers.sauce=dns"}, []string{"peers.sauce"}},
		{"unknown settings to print", []string{"-print-config", "-set", "peers.sauce=dns"}, []string{"peers.sauce"}},
		{"settings of the server", []string{"-set", "policy.keepaliveTime=1m", "-set", "policy.minClientPing=1m"}, []string{"policy.keepaliveTime", "policy.minClientPing"}},
		{"keys of a file", []string{"-config", bad}, []string{"rebalance.tolerances", "shutdown.timeout"}},
		{"flags and settings", []string{"-upstream", "x", "-set", "rebalance.floor=2"}, []string{"-upstream", "rebalance.floor"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(tc.args, &stdout, &stderr); code != exitUsage {
				t.Errorf("exit status %d, want %d", code, exitUsage)
			}
			line := stderr.String()
			if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "evenkeel-sidecar: ") {
				t.Errorf("got %q on stderr, want one line", line)
			}
			for _, want := range tc.want {
				if !strings.Contains(line, want) {
					t.Errorf("error %q does not mention %q", line, want)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"-help"}, &stdout, &stderr); code != exitOK || stderr.Len() != 0 {
		t.Errorf("exit status %d and %q on stderr, want %d and nothing", code, &stderr, exitOK)
	}
	for _, want := range []string{"-listen", "-upstream", "-http", "-config", "-switch", "-set", "-strict", "-drain", "-proxy-protocol", "POD_IP", "Exit status"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the help does not mention %s", want)
		}
	}
}

func TestPrintConfig(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"-print-config", "-set", "rebalance.tolerance=0.25"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	if !strings.Contains(stdout.String(), "tolerance: 0.25") {
		t.Errorf("the output lacks the setting:\n%s", &stdout)
	}
}

func TestPodIP(t *testing.T) {
	for _, tc := range []struct{ env, listen, want string }{
		{"127.0.1.7", "127.0.1.1:50051", "127.0.1.7"},
		{"", "127.0.1.1:50051", "127.0.1.1"},
		{"", "[::1]:50051", "::1"},
		{"", ":50051", ""},
		{"", "0.0.0.0:50051", ""},
	} {
		t.Setenv("POD_IP", tc.env)
		o := options{listen: tc.listen}
		if got := o.podIP(); got != tc.want {
			t.Errorf("POD_IP %q, -listen %q: got %q, want %q", tc.env, tc.listen, got, tc.want)
		}
	}
}

// -drain needs the port of the sidecar and nothing else, whatever the defaults of other flags are.
func TestDrainNeedsNoUpstream(t *testing.T) {
	for _, listen := range []string{":50052", "127.0.0.1:50052"} {
		var stdout, stderr bytes.Buffer
		code := run([]string{"-drain", "-listen=" + listen}, &stdout, &stderr)
		if code == exitUsage || strings.Contains(stderr.String(), "-upstream") {
			t.Errorf("%s: exit status %d, %q; want to be told only that no sidecar is there", listen, code, stderr.String())
		}
	}
}
