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

// options is what the command line said.
type options struct {
	grpcAddr, httpAddr, gatewayAddr string

	name        string
	config      config.Layers
	printConfig bool
	logLevel    slog.Level

	tlsCert, tlsKey, tlsClientCA string

	drainEvery time.Duration
	bare       bool
	bareMaxAge time.Duration
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `A hello server whose connections stay even over its pods, with evenkeel.

  server -grpc 127.0.1.1:50051 -http 127.0.1.1:8080 -name pod-a \
         -set peers.source=static -set peers.static=127.0.1.1,127.0.1.2

SIGTERM or SIGINT ends it: not ready any more, connections sent away, in-flight
RPCs finished, all within shutdown.timeout; a second one ends it at once.
Exit status: 0 stopped as asked, 1 could not serve, 2 a wrong flag or setting.

Environment: POD_NAME and POD_IP name this pod and its address among its peers
(defaults: the host's name, the host of -grpc); EVENKEEL_REBALANCE_ENABLED=false
and the like set one key each, between -config and -set.

`

// parse returns errHelp after -h, else every wrong flag joined.
func parse(args []string, out io.Writer) (options, error) {
	o := options{name: os.Getenv("POD_NAME")}
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.grpcAddr, "grpc", "127.0.0.1:50051", "serve gRPC on this `address`")
	fs.StringVar(&o.httpAddr, "http", "127.0.0.1:8080", "serve /livez /readyz /metrics /statusz /peerz and a page on this `address`")
	fs.StringVar(&o.gatewayAddr, "gateway", "", "serve HTTP/JSON (POST /v1/hi) through grpc-gateway on this `address`; empty: do not")
	fs.StringVar(&o.name, "name", o.name, "this pod's `name` (default $POD_NAME, else the host's name)")
	fs.StringVar(&o.config.File, "config", "", "YAML `file` of settings; it is read again when it changes")
	fs.Var((*list)(&o.config.Set), "set", "one setting as `key=value`, over -config and the environment; repeatable")
	fs.BoolVar(&o.printConfig, "print-config", false, "print all settings as they came out and exit")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	fs.StringVar(&o.tlsCert, "tls-cert", "", "certificate chain, a PEM `file`; empty: plaintext")
	fs.StringVar(&o.tlsKey, "tls-key", "", "its key, a PEM `file`")
	fs.StringVar(&o.tlsClientCA, "tls-client-ca", "", "PEM `file` of the CAs that clients' certificates must come from; empty: none asked for")
	fs.DurationVar(&o.drainEvery, "drain-every", 0, "for tests: ask every connection to leave each time this passes (reason manual); 0: never")
	fs.BoolVar(&o.bare, "bare", false, "for comparison: move nothing and stop as plain grpc-go does; evenkeel only counts")
	fs.DurationVar(&o.bareMaxAge, "bare-max-connection-age", 0, "with -bare: grpc-go's own keepalive.ServerParameters.MaxConnectionAge; 0: infinite")
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

// check joins everything that is wrong with the flags.
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
	wrong((o.tlsCert == "") != (o.tlsKey == ""), "-tls-cert and -tls-key: give both or none")
	wrong(o.tlsClientCA != "" && o.tlsCert == "", "-tls-client-ca: needs -tls-cert and -tls-key")
	wrong(o.drainEvery < 0, "-drain-every %v: below 0", o.drainEvery)
	wrong(o.bareMaxAge < 0, "-bare-max-connection-age %v: below 0", o.bareMaxAge)
	wrong(o.bareMaxAge != 0 && !o.bare, "-bare-max-connection-age: needs -bare")
	return errors.Join(errs...)
}

// podIP is the address that peers know this pod by, empty if nobody can tell:
// $POD_IP, else the host of -grpc unless that stands for every address.
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

// oneLine is err for stderr: everything that is wrong, on one line.
func oneLine(err error) string {
	return strings.Join(strings.Split(strings.TrimSpace(err.Error()), "\n"), "; ")
}
