package config

import "time"

// The values of rebalance.weight: the measure of a pod's load.
const (
	// WeightConnections counts connections. It is the default: it needs no history, and is
	// right where all clients are alike.
	WeightConnections = "connections"
	// WeightRequests counts streams opened per second.
	WeightRequests = "requests"
	// WeightStreams counts streams in flight.
	WeightStreams = "streams"

	// WeightCustom stands for a function of the user's own (rebalance.WithWeight) in status
	// and reports. It is not a value of the key.
	WeightCustom = "custom"
)

// The values of peers.source: where the list of the service's pods comes from.
const (
	// SourceNone knows no other pod. Connections are counted, and drained at shutdown, but
	// never moved for balance. It is the default.
	SourceNone = "none"
	// SourceStatic takes the list peers.static.
	SourceStatic = "static"
	// SourceDNS looks up the name peers.dns.name.
	SourceDNS = "dns"
	// SourceKubernetes watches the EndpointSlices of the Service
	// peers.kubernetes.service.
	SourceKubernetes = "kubernetes"
)

// Config holds all settings, as one struct and one YAML tree.
//
// Start from Default or Load: the zero value is not valid. Validate checks the limits named
// here. docs/settings.md describes the effect of a value that is too low or too high.
type Config struct {
	// Policy limits the life of connections and sets their keepalive.
	Policy Policy `json:"policy"`
	// Rebalance sets when, how fast and how far connections are moved.
	Rebalance Rebalance `json:"rebalance"`
	// Peers sets how the other pods are found and polled.
	Peers Peers `json:"peers"`
	// Clients describes the clients.
	Clients Clients `json:"clients"`
	// Shutdown sets how a pod stops.
	Shutdown Shutdown `json:"shutdown"`
}

// Policy limits the life of connections and sets their keepalive.
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
	// CloseAtExpiry drains a connection with mutual TLS before its client's certificate
	// expires, or one of its issuers' does. Otherwise the connection outlives the
	// certificate, with which no new one could be made. It is drained at a random moment in
	// the last minute, or the last tenth of the time that is left when it is accepted if that
	// is less. RPCs in flight finish, within MaxConnectionAgeGrace if that is set. It is read
	// once, so a change needs a restart. Default false.
	CloseAtExpiry bool `json:"closeAtExpiry"`
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

// Rebalance sets when, how fast and how far connections are moved. All of its fields can
// change while the process runs.
type Rebalance struct {
	// Enabled turns the moving of connections on. False stops it at once, see [Switches].
	// Default true.
	Enabled bool `json:"enabled"`
	// DryRun decides, counts, logs and shows what would be drained for balance, and drains
	// nothing. Policy and Shutdown stay in force. See [Switches]. Default false.
	DryRun bool `json:"dryRun"`
	// Weight is the measure of a pod's load: WeightConnections (the default),
	// WeightRequests or WeightStreams.
	Weight string `json:"weight"`
	// Tolerance is the distance above the mean, as a share of the mean, beyond which a pod is
	// over-loaded. Default 0.1. From 0.01 to 1.
	Tolerance float64 `json:"tolerance"`
	// Floor is the share of the mean below which a pod is under-loaded. Default 0.7. From
	// 0, which turns this side off, to 0.95.
	Floor float64 `json:"floor"`
	// MaxStreams is the number of streams in flight above which a pod is overloaded. Its share
	// then shrinks: it sheds connections to pods that are not overloaded, even if its load is below
	// the mean. Default 0: never. At most 10000000.
	MaxStreams int `json:"maxStreams"`
	// Spread is the longest time over which a pod spreads the GOAWAYs of one round. In small
	// rounds each is sent 3 or 20 ms after the one before. Default 1s. From 0, all at once, to
	// 1m.
	Spread time.Duration `json:"spread"`
	// MaxPerSecond is the largest number of GOAWAYs that a pod sends per second. Default
	// 100. From 0.1, one in ten seconds, to 100000.
	MaxPerSecond float64 `json:"maxPerSecond"`
	// MaxFractionPerMinute is the largest share of its connections that a pod drains per
	// minute. Default 1: no limit besides MaxPerSecond. From 0.01 to 1.
	MaxFractionPerMinute float64 `json:"maxFractionPerMinute"`
	// Cooldown is the time for which a client that came back after a GOAWAY is not drained
	// again. Default 30s, the time for which resolvers may keep an answer. From 1s to 1h. A
	// connection of HTTP/1.1 that came back by chance rests for 3s at most.
	Cooldown time.Duration `json:"cooldown"`
	// Settle is the time for which the membership must be unchanged before connections are
	// moved. Where it is known that no pod is starting, the list of all pods must be unchanged
	// for a quarter of it, and the last new pod ready for 100 ms. Default 2s. From 0, at once,
	// to 5m.
	Settle time.Duration `json:"settle"`
	// Grace is the time that a connection drained for balance may take before it is closed,
	// with RPCs in flight or not. Default 0: as long as it needs; a condition reports slow
	// ones. Otherwise from 1s to 1 year.
	Grace time.Duration `json:"grace"`
	// Warmup is the time in which a new pod's part of the load grows from a tenth to the whole.
	// It counts from when the pod first was a member. Default 0: the pod gets its whole part at
	// once. Otherwise from 1s to 1h.
	Warmup time.Duration `json:"warmup"`
}

// Peers sets how the other pods of the service are found and polled. It is read once, so a
// change needs a restart.
type Peers struct {
	// Source is where the list of pods comes from: SourceNone (the default), SourceStatic,
	// SourceDNS or SourceKubernetes.
	Source string `json:"source"`
	// Static is the list for SourceStatic: "host", "host:port", or IPv6 addresses with or
	// without brackets. An entry without a port uses Port. Default empty; SourceStatic
	// needs at least one entry.
	Static []string `json:"static"`
	// DNS is for SourceDNS.
	DNS PeersDNS `json:"dns"`
	// Kubernetes is for SourceKubernetes.
	Kubernetes PeersKubernetes `json:"kubernetes"`
	// Port is the port of the peers' health endpoints. Default 0: the port of this pod's
	// own. At most 65535.
	Port int `json:"port"`
	// Salt is mixed into the hashes by which pods name clients to each other. It keeps an
	// eavesdropper from finding the addresses of clients by trying them all. All pods need
	// the same salt: with different ones they do not recognize each other's clients.
	// Default empty: no salt. At most 256 bytes.
	Salt string `json:"salt"`
	// TLS is mutual TLS between pods. Default: off.
	TLS PeersTLS `json:"tls"`
}

// PeersTLS sets mutual TLS between pods. The health endpoint then serves HTTPS, and /peerz
// requires a client certificate signed by CA. Nothing else on the endpoint needs one. Pods
// present their own certificate when they poll or query each other.
//
// Cert, Key and CA are set together or not at all. Default empty: plain HTTP. The files are
// read again when they change, without a restart. Bad new files change nothing and raise
// the condition "peers-tls".
type PeersTLS struct {
	// Cert is the file of the pod's certificate chain, in PEM. Its extended key usages must
	// include both server and client authentication, or be absent.
	Cert string `json:"cert"`
	// Key is the file of the certificate's key, in PEM.
	Key string `json:"key"`
	// CA is the file of the one or more certificates, in PEM, that sign those of all pods.
	// To change the CA, keep both the old and the new one in the file until all pods have
	// certificates of the new one.
	CA string `json:"ca"`
	// ServerName is a DNS name or IP address that the certificate of each pod must have among its
	// subject alternative names, whether the pod answers or asks. Pods connect to each other by
	// address, so the name cannot come from there. Default empty: any certificate signed by CA
	// will do. Set it if the CA also signs for others, since each of them could pose as a pod.
	ServerName string `json:"serverName"`
}

// PeersDNS finds peers by a name.
type PeersDNS struct {
	// Name is a name with an address for each pod, such as that of a headless Service. In a
	// cluster, hello-headless.shop.svc is completed by its domain. Default empty; SourceDNS
	// needs it.
	Name string `json:"name"`
	// Server is the DNS server, "host" or "host:port" (default port 53). Default empty: the
	// servers of the system.
	Server string `json:"server"`
	// Interval is the time from one answer to the next lookup. For 30s after the start and
	// after each change it is 1s at most. Default 5s. From 100ms to 10s, since a view becomes
	// stale after 30s.
	Interval time.Duration `json:"interval"`
}

// PeersKubernetes finds peers by the EndpointSlices of a Service.
type PeersKubernetes struct {
	// Namespace is the namespace of the Service. Default empty: that of this pod.
	Namespace string `json:"namespace"`
	// Service is the name of the Service. Default empty; SourceKubernetes needs it.
	Service string `json:"service"`
	// Kubeconfig is the name of a kubeconfig file, for a process outside the cluster.
	// Default empty: the pod's service account.
	Kubeconfig string `json:"kubeconfig"`
}

// Clients describes the clients.
type Clients struct {
	// DNS is the name that clients resolve.
	DNS ClientsDNS `json:"dns"`
}

// ClientsDNS is the name that clients resolve, for the DNS gate: no connection is moved
// before this name answers with the new pods. It is read once, so a change needs a restart.
type ClientsDNS struct {
	// Name is the name behind dns:/// in the clients' target, without the port. Default
	// empty: with SourceDNS, that of Peers.DNS (for SRV records, the name behind
	// _service._proto); with SourceKubernetes, that of the Service if it is headless;
	// otherwise there is no gate.
	Name string `json:"name"`
	// Server is the DNS server of the clients, "host" or "host:port" (default port 53).
	// Default empty: that of Peers.DNS if the name comes from there, otherwise the servers
	// of the system.
	Server string `json:"server"`
}

// Shutdown sets how a pod stops.
type Shutdown struct {
	// Timeout is the time from the signal to the end. It covers the wait until this pod is
	// removed from the endpoints, draining, and closing the remaining connections. Default
	// 20s, which fits with a preStop of 5 s into the 30 s that Kubernetes gives a pod. From
	// 1s to 1h.
	Timeout time.Duration `json:"timeout"`
	// Minimum is how long a stopping pod serves on at least before it drains its
	// connections, for load balancers that deregister a target slowly. It is part of
	// Timeout and must be below it. Default 0s: only until the source of peers and DNS no
	// longer list the pod. At most 59m.
	Minimum time.Duration `json:"minimum"`
}

// Default returns the default configuration. It is valid, has no source of peers, and so
// moves nothing.
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
		Peers:    Peers{Source: SourceNone, DNS: PeersDNS{Interval: 5 * time.Second}},
		Shutdown: Shutdown{Timeout: 20 * time.Second},
	}
}
