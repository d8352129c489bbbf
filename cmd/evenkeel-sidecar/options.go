package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/evenkeel-go/evenkeel/config"
)

// options holds the flags.
type options struct {
	listen, upstream, http string

	proxyProtocol bool
	drain         bool
	name          string
	config        config.Layers
	printConfig   bool
	logLevel      slog.Level

	tlsCert, tlsKey, tlsClientCA string
}

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `Keeps the connections of a gRPC server even across its pods, whatever language the
server is written in. It stands in front of the server in the same pod: clients connect to
-listen, and each connection is passed on to -upstream, byte by byte.

  evenkeel-sidecar -listen :50051 -upstream 127.0.0.1:50052 -http :8080 \
         -set peers.source=kubernetes -set peers.kubernetes.service=hello-headless

While the upstream cannot be reached, /readyz answers 503 and clients are refused.

On SIGTERM or SIGINT it becomes not ready, drains its connections and lets RPCs in
flight finish, within shutdown.timeout. A second signal ends it at once. With -drain
it makes the sidecar that runs in the same pod do that, and waits until it has: for a
preStop hook. That sidecar then goes on until SIGTERM.

Exit status: 0 stopped by a signal, 1 failed or ended by a second signal,
2 invalid flags or settings.

Environment: POD_NAME is the name of this pod (default: the host name), and POD_IP
its address among its peers (default: the host of -listen). Variables such as
EVENKEEL_REBALANCE_ENABLED=false set one key each; they override -config, and -set
overrides them.

`

// parse returns flag.ErrHelp after -h, and otherwise one error that joins those of
// all flags.
func parse(args []string, out io.Writer) (options, error) {
	o := options{name: os.Getenv("POD_NAME")}
	fs := flag.NewFlagSet("evenkeel-sidecar", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", ":50051", "accept clients on this `address`")
	fs.StringVar(&o.upstream, "upstream", "127.0.0.1:50052", "pass each connection on to this `address`: host:port, or unix:/path")
	fs.StringVar(&o.http, "http", ":8080", "serve /livez, /readyz, /metrics, /statusz, /peerz and a page at / on this `address`")
	fs.BoolVar(&o.proxyProtocol, "proxy-protocol", false, "begin each upstream connection with a PROXY protocol v2 header that has the client's address")
	fs.BoolVar(&o.drain, "drain", false, "make the sidecar on -listen in this pod drain all connections, wait until it has, and exit")
	fs.StringVar(&o.name, "name", o.name, "`name` of this pod (default $POD_NAME, else the host name)")
	fs.StringVar(&o.config.File, "config", "", "YAML `file` with settings; it is reloaded when it changes")
	fs.StringVar(&o.config.Switch, "switch", "", "second YAML `file` that only throws the kill switch (rebalance.enabled: false) or a dry run; it need not exist (default $EVENKEEL_SWITCH)")
	fs.Var((*list)(&o.config.Set), "set", "set this `key=value`, overriding -config and the environment; may be repeated")
	fs.BoolVar(&o.config.Strict, "strict", false, "refuse settings that do not exist; by default they are a warning, so that a rollback starts")
	fs.BoolVar(&o.printConfig, "print-config", false, "print all resulting settings and exit; settings that do not exist are errors")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest `level` to log: debug, info, warn or error")
	fs.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` with the certificate chain, to end TLS here; empty: bytes pass as they are, and must be plaintext")
	fs.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` with the key of the certificate")
	fs.StringVar(&o.tlsClientCA, "tls-client-ca", "", "PEM `file` with the CAs of client certificates, which are then required; empty: none required")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return o, err
	}
	return o, o.check(fs.Args())
}

// check returns one error that joins those of all flags.
func (o *options) check(rest []string) error {
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(len(rest) > 0, "unexpected argument %q", strings.Join(rest, " "))
	for _, a := range []struct{ flag, addr string }{{"-listen", o.listen}, {"-http", o.http}} {
		_, err := net.ResolveTCPAddr("tcp", a.addr)
		wrong(err != nil, "%s %q: want host:port (%v)", a.flag, a.addr, err)
	}
	if !o.drain { // which is given -listen alone
		errs = append(errs, checkUpstream(o.upstream, o.listen))
	}
	wrong((o.tlsCert == "") != (o.tlsKey == ""), "-tls-cert and -tls-key: want both or neither")
	wrong(o.tlsClientCA != "" && o.tlsCert == "", "-tls-client-ca needs -tls-cert and -tls-key")
	return errors.Join(errs...)
}

func checkUpstream(upstream, listen string) error {
	network, addr := splitUpstream(upstream)
	if network == "unix" {
		if addr == "" {
			return fmt.Errorf("-upstream %q: want unix:/path", upstream)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("-upstream %q: want host:port or unix:/path", upstream)
	}
	if isItself(host, port, listen) {
		return fmt.Errorf("-upstream %q: is the sidecar itself (-listen %s), which would connect to itself without end", upstream, listen)
	}
	return nil
}

// isItself reports whether an upstream is the sidecar's own listener, as far as the addresses show.
func isItself(host, port, listen string) bool {
	own, ownPort, err := net.SplitHostPort(listen)
	if err != nil || port != ownPort {
		return false
	}
	ip := net.ParseIP(own)
	local := host == "localhost" || net.ParseIP(host).IsLoopback() || net.ParseIP(host).IsUnspecified()
	return host == own || local && (own == "" || ip.IsUnspecified())
}

// splitUpstream returns the network and the address of -upstream.
func splitUpstream(upstream string) (network, addr string) {
	if path, ok := strings.CutPrefix(upstream, "unix:"); ok {
		return "unix", path
	}
	return "tcp", upstream
}

// unusable are the settings that only the server itself can apply.
func unusable(cfg *config.Config) error {
	p := cfg.Policy
	var errs []error
	for key, set := range map[string]bool{
		"maxConnectionIdle": p.MaxConnectionIdle != 0, "keepaliveTime": p.KeepaliveTime != 0, "keepaliveTimeout": p.KeepaliveTimeout != 0,
		"minClientPing": p.MinClientPing != 0, "permitWithoutStream": p.PermitWithoutStream,
	} {
		if set {
			errs = append(errs, fmt.Errorf("policy.%s: the sidecar passes PINGs on and cannot apply it; remove it here and set it in the server behind the sidecar", key))
		}
	}
	return errors.Join(errs...)
}

// podIP returns the address that peers know this pod by: $POD_IP, else the host of
// -listen. It returns "" if that host stands for every address.
func (o *options) podIP() string {
	if ip := os.Getenv("POD_IP"); ip != "" {
		return ip
	}
	addr, err := net.ResolveTCPAddr("tcp", o.listen)
	if err != nil || addr.IP == nil || addr.IP.IsUnspecified() {
		return ""
	}
	return addr.IP.String()
}

// oneLine puts all lines of err onto one, for stderr.
func oneLine(err error) string {
	return strings.Join(strings.Split(strings.TrimSpace(err.Error()), "\n"), "; ")
}
