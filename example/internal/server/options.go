package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
)

// options holds the flags.
type options struct {
	grpcAddr, httpAddr, gatewayAddr string

	name        string
	config      config.Layers
	printConfig bool
	logLevel    slog.Level

	tlsCert, tlsKey, tlsClientCA string

	introspection bool
	checkURL      string

	drainEvery time.Duration
	bare       bool
	bareMaxAge time.Duration
}

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `A hello server that uses evenkeel to keep connections even across its pods.

  server -grpc 127.0.1.1:50051 -http 127.0.1.1:8080 -name pod-a \
         -set peers.source=static -set peers.static=127.0.1.1,127.0.1.2

On SIGTERM or SIGINT the server becomes not ready, drains its connections and lets
RPCs in flight finish, within shutdown.timeout. A second signal ends it at once.

Exit status: 0 stopped by a signal, 1 failed or ended by a second signal,
2 invalid flags or settings.

Environment: POD_NAME is the name of this pod (default: the host name), and POD_IP
its address among its peers (default: the host of -grpc). Variables such as
EVENKEEL_REBALANCE_ENABLED=false set one key each; they override -config, and -set
overrides them.

`

// parse returns flag.ErrHelp after -h, and otherwise one error that joins those of
// all flags.
func parse(args []string, out io.Writer) (options, error) {
	o := options{name: os.Getenv("POD_NAME")}
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.grpcAddr, "grpc", "127.0.0.1:50051", "serve gRPC on this `address`")
	fs.StringVar(&o.httpAddr, "http", "127.0.0.1:8080", "serve /livez, /readyz, /metrics, /statusz, /peerz and a page at / on this `address`")
	fs.StringVar(&o.gatewayAddr, "gateway", "", "serve HTTP/JSON (POST /v1/hi) through grpc-gateway on this `address`, by HTTP/1.1 and h2c; empty: off")
	fs.StringVar(&o.name, "name", o.name, "`name` of this pod (default $POD_NAME, else the host name)")
	fs.StringVar(&o.config.File, "config", "", "YAML `file` with settings; it is reloaded when it changes")
	fs.StringVar(&o.config.Switch, "switch", "", "second YAML `file` that only throws the kill switch (rebalance.enabled: false) or a dry run; it need not exist (default $EVENKEEL_SWITCH)")
	fs.Var((*list)(&o.config.Set), "set", "set this `key=value`, overriding -config and the environment; may be repeated")
	fs.BoolVar(&o.config.Strict, "strict", false, "refuse settings that do not exist; by default they are a warning, so that a rollback starts")
	fs.BoolVar(&o.printConfig, "print-config", false, "print all resulting settings and exit; settings that do not exist are errors")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest `level` to log: debug, info, warn or error")
	fs.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` with the certificate chain; empty: plaintext")
	fs.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` with the key of the certificate")
	fs.StringVar(&o.tlsClientCA, "tls-client-ca", "", "PEM `file` with the CAs of client certificates, which are then required; empty: none required")
	fs.BoolVar(&o.introspection, "introspection", true, "serve reflection and channelz, which show a caller all services and connections; the image turns it off")
	fs.StringVar(&o.checkURL, "check", "", "serve nothing: ask this `URL`, print the answer and exit with 0 if its status is 200, as helm test does")
	fs.DurationVar(&o.drainEvery, "drain-every", 0, "for tests: drain every connection this often (reason manual); 0: never")
	fs.BoolVar(&o.bare, "bare", false, "for comparison: drain nothing and stop as plain grpc-go does; evenkeel only counts")
	fs.DurationVar(&o.bareMaxAge, "bare-max-connection-age", 0, "with -bare: grpc-go's keepalive.ServerParameters.MaxConnectionAge; 0: infinite")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return o, err
	}
	if o.bare {
		o.config.Set = append(o.config.Set, "rebalance.enabled=false")
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
	for _, a := range []struct{ flag, addr string }{{"-grpc", o.grpcAddr}, {"-http", o.httpAddr}, {"-gateway", o.gatewayAddr}} {
		if a.flag == "-gateway" && a.addr == "" {
			continue
		}
		_, err := net.ResolveTCPAddr("tcp", a.addr)
		wrong(err != nil, "%s %q: want host:port (%v)", a.flag, a.addr, err)
	}
	wrong((o.tlsCert == "") != (o.tlsKey == ""), "-tls-cert and -tls-key: want both or neither")
	wrong(o.tlsClientCA != "" && o.tlsCert == "", "-tls-client-ca needs -tls-cert and -tls-key")
	wrong(o.drainEvery < 0, "-drain-every %v: must not be negative", o.drainEvery)
	wrong(o.bareMaxAge < 0, "-bare-max-connection-age %v: must not be negative", o.bareMaxAge)
	wrong(o.bareMaxAge != 0 && !o.bare, "-bare-max-connection-age needs -bare")
	return errors.Join(errs...)
}

// podIP returns the address that peers know this pod by: $POD_IP, else the host of
// -grpc. It returns "" if that host stands for every address.
func (o *options) podIP() string {
	if ip := os.Getenv("POD_IP"); ip != "" {
		return ip
	}
	addr, err := net.ResolveTCPAddr("tcp", o.grpcAddr)
	if err != nil || addr.IP == nil || addr.IP.IsUnspecified() {
		return ""
	}
	return addr.IP.String()
}

// oneLine puts all lines of err onto one, for stderr.
func oneLine(err error) string {
	return strings.Join(strings.Split(strings.TrimSpace(err.Error()), "\n"), "; ")
}
