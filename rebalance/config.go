package rebalance

import "time"

// Config is everything that can be tuned, one struct and one YAML tree.
type Config struct {
	Policy    PolicyConfig    `json:"policy"`
	Rebalance RebalanceConfig `json:"rebalance"`
	Peers     PeersConfig     `json:"peers"`
	Clients   ClientsConfig   `json:"clients"`
	Shutdown  ShutdownConfig  `json:"shutdown"`
}

// PolicyConfig is how long connections live and how they are kept alive.
type PolicyConfig struct {
	MaxConnectionAge      time.Duration `json:"maxConnectionAge"`
	MaxConnectionAgeGrace time.Duration `json:"maxConnectionAgeGrace"`
	MaxConnectionIdle     time.Duration `json:"maxConnectionIdle"`
	KeepaliveTime         time.Duration `json:"keepaliveTime"`
	KeepaliveTimeout      time.Duration `json:"keepaliveTimeout"`
	MinClientPing         time.Duration `json:"minClientPing"`
	PermitWithoutStream   bool          `json:"permitWithoutStream"`
}

// RebalanceConfig is when, how fast and how far connections are moved.
type RebalanceConfig struct {
	Enabled              bool          `json:"enabled"`
	Weight               string        `json:"weight"`
	Tolerance            float64       `json:"tolerance"`
	Floor                float64       `json:"floor"`
	Spread               time.Duration `json:"spread"`
	MaxPerSecond         float64       `json:"maxPerSecond"`
	MaxFractionPerMinute float64       `json:"maxFractionPerMinute"`
	Cooldown             time.Duration `json:"cooldown"`
	Settle               time.Duration `json:"settle"`
	Grace                time.Duration `json:"grace"`
}

// PeersConfig is how the other pods of the service are found.
type PeersConfig struct {
	Source     string                `json:"source"`
	Static     []string              `json:"static"`
	DNS        PeersDNSConfig        `json:"dns"`
	Kubernetes PeersKubernetesConfig `json:"kubernetes"`
	Port       int                   `json:"port"`
}

// PeersDNSConfig finds peers by a name.
type PeersDNSConfig struct {
	Name     string        `json:"name"`
	Server   string        `json:"server"`
	Interval time.Duration `json:"interval"`
}

// PeersKubernetesConfig finds peers by the EndpointSlices of a Service.
type PeersKubernetesConfig struct {
	Namespace  string `json:"namespace"`
	Service    string `json:"service"`
	Kubeconfig string `json:"kubeconfig"`
}

// ClientsConfig is what is known of the clients.
type ClientsConfig struct {
	DNS ClientsDNSConfig `json:"dns"`
}

// ClientsDNSConfig is the name that clients resolve, for the DNS gate.
type ClientsDNSConfig struct {
	Name   string `json:"name"`
	Server string `json:"server"`
}

// ShutdownConfig is how a pod stops.
type ShutdownConfig struct {
	Timeout time.Duration `json:"timeout"`
}
