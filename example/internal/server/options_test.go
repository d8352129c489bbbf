package server

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
		{"addresses", []string{"-grpc", "nowhere", "-http", "127.0.0.1:http-alt-x", "-gateway", ":x"}, []string{"-grpc", "-http", "-gateway"}},
		{"certificate without key", []string{"-tls-cert", "x"}, []string{"-tls-cert and -tls-key"}},
		{"client CA without TLS", []string{"-tls-client-ca", "x"}, []string{"-tls-client-ca"}},
		{"missing TLS files", []string{"-tls-cert", "/no/cert", "-tls-key", "/no/key"}, []string{"-tls-cert", "/no/cert"}},
		{"peers.tls without key", []string{"-set", "peers.tls.cert=x", "-set", "peers.tls.ca=y"}, []string{"peers.tls.key"}},
		{"missing files of peers.tls", []string{"-set", "peers.tls.cert=/no/cert", "-set", "peers.tls.key=/no/key", "-set", "peers.tls.ca=/no/ca"}, []string{"peers.tls", "/no/cert"}},
		{"connection age without bare", []string{"-bare-max-connection-age", "30s"}, []string{"-bare-max-connection-age"}},
		{"negative durations", []string{"-drain-every", "-1s", "-bare", "-bare-max-connection-age", "-1s"}, []string{"-drain-every", "-bare-max-connection-age"}},
		{"settings", []string{"-set", "rebalance.tolerance=7", "-set", "peers.sauce=dns"}, []string{"rebalance.tolerance", "peers.sauce"}},
		{"a setting that does not exist", []string{"-set", "rebalance.enabld=false"}, []string{"rebalance.enabld"}},
		{"strict", []string{"-strict", "-set", "peers.sauce=dns"}, []string{"peers.sauce"}},
		{"unknown settings to print", []string{"-print-config", "-set", "peers.sauce=dns"}, []string{"peers.sauce"}},
		{"keys of a file", []string{"-config", bad}, []string{"rebalance.tolerances", "shutdown.timeout"}},
		{"missing file", []string{"-config", "/no/such.yaml"}, []string{"/no/such.yaml"}},
		{"flags and settings", []string{"-drain-every", "-1s", "-set", "rebalance.floor=2"}, []string{"-drain-every", "rebalance.floor"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := Main(tc.args, &stdout, &stderr); code != exitUsage {
				t.Errorf("exit status %d, want %d", code, exitUsage)
			}
			line := stderr.String()
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
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
	if code := Main([]string{"-help"}, &stdout, &stderr); code != exitOK || stderr.Len() != 0 {
		t.Errorf("exit status %d and %q on stderr, want %d and nothing", code, &stderr, exitOK)
	}
	for _, want := range []string{"-grpc", "-http", "-gateway", "-config", "-set", "POD_IP", "Exit status"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the help does not mention %s", want)
		}
	}
}

func TestPrintConfig(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"-print-config", "-bare", "-set", "rebalance.tolerance=0.25"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	for _, want := range []string{"tolerance: 0.25", "enabled: false"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output does not contain %q:\n%s", want, &stdout)
		}
	}
}

func TestPodIP(t *testing.T) {
	for _, tc := range []struct{ env, grpc, want string }{
		{"127.0.1.7", "127.0.1.1:50051", "127.0.1.7"},
		{"", "127.0.1.1:50051", "127.0.1.1"},
		{"", "[::1]:50051", "::1"},
		{"", ":50051", ""},
		{"", "0.0.0.0:50051", ""},
	} {
		t.Setenv("POD_IP", tc.env)
		o := options{grpcAddr: tc.grpc}
		if got := o.podIP(); got != tc.want {
			t.Errorf("POD_IP %q, -grpc %q: got %q, want %q", tc.env, tc.grpc, got, tc.want)
		}
	}
}
