package config

import "time"

// What rebalance.weight may be: by which measure a pod is fuller than another.
const (
	// WeightConnections counts connections. It is the default: it needs no
	// history, and is right wherever clients are alike.
	WeightConnections = "connections"
	// WeightRequests counts streams opened per second.
	WeightRequests = "requests"
	// WeightStreams counts streams in flight.
	WeightStreams = "streams"

	// WeightCustom is shown where the user's own function measures load
	// (rebalance.WithWeight). It is not a value of the key.
	WeightCustom = "custom"
)

// What peers.source may be: who knows the other pods of the service.
const (
	// SourceNone knows nobody: connections are counted and drained at shutdown, and
	// never moved for balance. It is the default.
	SourceNone = "none"
	// SourceStatic is the list peers.static.
	SourceStatic = "static"
	// SourceDNS is the name peers.dns.name.
	SourceDNS = "dns"
	// SourceKubernetes is the EndpointSlices of the Service
	// peers.kubernetes.service.
	SourceKubernetes = "kubernetes"
)

// Config is everything that can be tuned, one struct and one YAML tree.
//
// Start from Default or Load: the zero value is not valid. Validate
// holds the limits named here; docs/settings.md says what a value too low or too
// high does.
type Config struct {
	Policy    Policy    `json:"policy"`
	Rebalance Rebalance `json:"rebalance"`
	Peers     Peers     `json:"peers"`
	Clients   Clients   `json:"clients"`
	Shutdown  Shutdown  `json:"shutdown"`
}

// Policy is how long connections live and how they are kept alive.
//
// serveropts.Options hands the five fields from MaxConnectionIdle on to grpc.NewServer, and
// only those that are set: at zero, a server's own grpc.KeepaliveParams and
// grpc.KeepaliveEnforcementPolicy stay in force, or else grpc-go's defaults. One field that
// is set replaces its whole group: the first three are grpc.KeepaliveParams, the other two
// grpc.KeepaliveEnforcementPolicy. grpc-go reads them once, so a change needs a restart.
type Policy struct {
	// MaxConnectionAge is the age at which a connection is drained, give or take a tenth.
	// It is a backstop for what balancing does not see; 30m or more is advised. Default 0:
	// no limit. Otherwise from 1s to 1 year.
	MaxConnectionAge time.Duration `json:"maxConnectionAge"`
	// MaxConnectionAgeGrace is how long a connection that is drained for its age may take
	// before it is closed, with RPCs in flight or not. Default 0: as long as it needs.
	// Otherwise from 1s to 1 year.
	MaxConnectionAgeGrace time.Duration `json:"maxConnectionAgeGrace"`
	// MaxConnectionIdle is how long a connection may be without a stream before grpc-go
	// drains it (keepalive.ServerParameters.MaxConnectionIdle). Default 0: not set; grpc-go
	// has no limit. Otherwise from 1s to 1 year.
	MaxConnectionIdle time.Duration `json:"maxConnectionIdle"`
	// KeepaliveTime is the silence after which the server pings a client
	// (keepalive.ServerParameters.Time, gRFC A8, A9). Default 0: not set; grpc-go has 2h.
	// Otherwise from 1s, below which grpc-go does not go, to 1 year.
	KeepaliveTime time.Duration `json:"keepaliveTime"`
	// KeepaliveTimeout is how long a pinged client may take to answer before its
	// connection is closed (keepalive.ServerParameters.Timeout). Default 0: not set;
	// grpc-go has 20s. Otherwise from 1s to 1h.
	KeepaliveTimeout time.Duration `json:"keepaliveTimeout"`
	// MinClientPing is the shortest time between two pings of a client
	// (keepalive.EnforcementPolicy.MinTime, gRFC A8). grpc-go closes the connection of a
	// client that pings more often, with too_many_pings. Default 0: not set; grpc-go has
	// 5m. Otherwise from 100ms to 24h.
	MinClientPing time.Duration `json:"minClientPing"`
	// PermitWithoutStream lets clients ping while they have no stream open
	// (keepalive.EnforcementPolicy.PermitWithoutStream). Default false: not set; grpc-go
	// then allows such a client one ping in 2h.
	PermitWithoutStream bool `json:"permitWithoutStream"`
}

// Rebalance is when, how fast and how far connections are moved. All of it
// can change while the process runs.
//
type Rebalance struct {
	// Enabled false stops all moving at once. Default true.
	Enabled bool `json:"enabled"`
	// Weight is the measure of a pod's load: WeightConnections (the default),
	// WeightRequests or WeightStreams.
	Weight string `json:"weight"`
	// Tolerance is how far above the mean a pod is over-loaded, as a share of the
	// mean. Default 0.1. From 0.01 to 1.
	Tolerance float64 `json:"tolerance"`
	// Floor is the share of the mean below which a pod is under-loaded. Default
	// 0.7. From 0, which turns this side off, to 0.95.
	Floor float64 `json:"floor"`
	// MaxStreams is from how many streams in flight on a pod is overloaded: it then sheds
	// connections to those that are not, even below the mean. Default 0: never. To
	// 10000000.
	MaxStreams int `json:"maxStreams"`
	// Spread is the time over which one pod spreads the GOAWAYs of one round.
	// Default 1s. From 0, all at once, to 1m.
	Spread time.Duration `json:"spread"`
	// MaxPerSecond is how many GOAWAYs one pod sends in a second. Default 100.
	// From 0.1, one in ten seconds, to 100000.
	MaxPerSecond float64 `json:"maxPerSecond"`
	// MaxFractionPerMinute is the share of its connections that one pod asks to
	// leave in a minute. Default 1: no ceiling beyond MaxPerSecond. From 0.01.
	MaxFractionPerMinute float64 `json:"maxFractionPerMinute"`
	// Cooldown is how long a client that came back after a GOAWAY is not asked
	// again. Default 30s, which is how long resolvers sit on an answer. From 1s to
	// 1h.
	Cooldown time.Duration `json:"cooldown"`
	// Settle is how long the membership must have been quiet before connections
	// are moved. Default 2s. From 0, at once, to 5m.
	Settle time.Duration `json:"settle"`
	// Grace is how long a connection that was asked to leave for balance may take
	// before it is closed, in-flight RPCs or not. Default 0: as long as it needs,
	// which is reported. Else from 1s to 1 year.
	Grace time.Duration `json:"grace"`
}

// Peers is how the other pods of the service are found. It is read once: a
// change needs a new process.
type Peers struct {
	// Source is who knows them: SourceNone (the default), SourceStatic, SourceDNS or
	// SourceKubernetes.
	Source string `json:"source"`
	// Static is the list for SourceStatic: "host", "host:port", IPv6 addresses with
	// or without brackets. Without a port, Port holds. Default empty.
	Static []string `json:"static"`
	// DNS is for SourceDNS.
	DNS PeersDNS `json:"dns"`
	// Kubernetes is for SourceKubernetes.
	Kubernetes PeersKubernetes `json:"kubernetes"`
	// Port is that of the peers' health endpoints. Default 0: the same as here. To
	// 65535.
	Port int `json:"port"`
	// Salt is mixed into the hashes by which pods name clients to each other, so that
	// whoever reads along cannot find out clients' addresses by trying them all. All
	// pods need the same one: with different salts they find none of each other's
	// clients. Default empty: none. At most 256 bytes.
	Salt string `json:"salt"`
	// TLS is mutual TLS between pods.
	TLS PeersTLS `json:"tls"`
}

// PeersTLS is mutual TLS between pods: the health endpoint serves HTTPS, /peerz
// answers only to who shows a certificate signed by CA, and pods ask each other with
// theirs. Everything else on the endpoint needs no client certificate. Cert, Key and
// CA are set together or not at all; default empty: plain HTTP. The files are read
// again when they change, without a restart; bad new ones change nothing and show the
// condition "peers-tls".
type PeersTLS struct {
	// Cert is the file of the pod's certificate chain, PEM. It needs both server and
	// client authentication among its extended key usages, or none at all.
	Cert string `json:"cert"`
	// Key is the file of its key, PEM.
	Key string `json:"key"`
	// CA is the file of the certificates, one or more, PEM, that sign those of all
	// pods. To change the CA, let the file have the old and the new one until all pods
	// have certificates of the new one.
	CA string `json:"ca"`
	// ServerName is a name that the certificate of each pod must have (a DNS name or an
	// IP address among its subject alternative names). Pods are asked by address, so
	// that the name of the host says nothing. Default empty: any certificate signed
	// by CA will do. Set it where the CA signs for others than these pods, too: without
	// it each of them could answer in a pod's place.
	ServerName string `json:"serverName"`
}

// PeersDNS finds peers by a name.
type PeersDNS struct {
	// Name has an address for each pod: that of a headless Service. Default empty.
	Name string `json:"name"`
	// Server is the DNS server, "host" or "host:port" (port 53). Default empty: the
	// system's.
	Server string `json:"server"`
	// Interval is the time from one answer to the next question. Default 1s. From
	// 100ms to 10s: a view of 30s ago is stale.
	Interval time.Duration `json:"interval"`
}

// PeersKubernetes finds peers by the EndpointSlices of a Service.
type PeersKubernetes struct {
	// Namespace is that of the Service. Default empty: that of this pod.
	Namespace string `json:"namespace"`
	// Service is its name. Default empty.
	Service string `json:"service"`
	// Kubeconfig is a file, for a process outside the cluster. Default empty: the
	// pod's service account.
	Kubeconfig string `json:"kubeconfig"`
}

// Clients is what is known of the clients.
type Clients struct {
	DNS ClientsDNS `json:"dns"`
}

// ClientsDNS is the name that clients resolve, for the DNS gate: nothing
// is moved before this name answers with the new pods. It is read once: a change
// needs a new process.
type ClientsDNS struct {
	// Name is what stands behind dns:/// in the clients' target, without the port.
	// Default empty: with the source dns that of Peers.DNS (of SRV records the name behind
	// _service._proto), with kubernetes the Service if it is headless, else none: nothing
	// is waited for.
	Name string `json:"name"`
	// Server is the DNS server that clients ask, "host" or "host:port" (port 53).
	// Default empty: that of Peers.DNS if the name is from there, too; else the system's.
	Server string `json:"server"`
}

// Shutdown is how a pod stops.
type Shutdown struct {
	// Timeout is the time from the signal to the end: waiting for the endpoints to
	// forget this pod, draining, and then closing what is left. Default 20s, which fits with a
	// preStop of 5 s into the 30 s that Kubernetes gives a pod. From 1s to 1h.
	Timeout time.Duration `json:"timeout"`
}

// Default returns the configuration that holds where nothing is set. It
// is valid, finds no peers, and so moves nothing.
func Default() Config {
	return Config{
		Rebalance: Rebalance{
			Enabled:              true,
			Weight:               WeightConnections,
			Tolerance:            0.1,
			Floor:                0.7,
			Spread:               time.Second,
			MaxPerSecond:         100,
			MaxFractionPerMinute: 1,
			Cooldown:             30 * time.Second,
			Settle:               2 * time.Second,
		},
		Peers:    Peers{Source: SourceNone, DNS: PeersDNS{Interval: time.Second}},
		Shutdown: Shutdown{Timeout: 20 * time.Second},
	}
}
