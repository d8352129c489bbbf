package config

import (
	"cmp"
	"errors"
	"os"
	"reflect"
	"slices"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

// EnvPrefix is the prefix of each environment variable that sets a key. The rest of the name
// is the key in upper case, with underscores for dots: EVENKEEL_REBALANCE_MAXPERSECOND sets
// rebalance.maxPerSecond.
const EnvPrefix = "EVENKEEL_"

// EnvSwitch is the environment variable with the default of Layers.Switch.
const EnvSwitch = EnvPrefix + "SWITCH"

// Error is one mistake in one key. Load and Validate return several of them joined; Errors
// lists them.
type Error struct {
	// Key is the path of the key, such as "rebalance.tolerance". If there is no such key,
	// it is what the user wrote. Empty: a file as a whole is wrong.
	Key string
	// Where is the place of the mistake: "config.yaml:7", "environment
	// EVENKEEL_PEERS_PORT", "-set". Empty: a default, or a Config that was not loaded.
	Where string
	// Text explains the mistake and, where possible, what to write instead.
	Text string
	// Unknown reports whether there is no such key, and nothing else is wrong with it: another
	// version of evenkeel may have it.
	Unknown bool
}

// Error returns one line that begins with the key.
func (e *Error) Error() string { return (*conf.Error)(e).Error() }

// Errors returns every Error within err, in order, however it is joined or wrapped. It
// returns none for nil and for an error of another kind, such as a file that cannot be read.
func Errors(err error) []*Error { return conf.ErrorsOf[*Error](err) }

// Layers are the sources of a configuration. Each one overrides the one before: the
// defaults, File, Env, Set. The zero value takes the defaults and the environment of the
// process.
type Layers struct {
	// File is the name of a YAML file of at most 1 MiB. The file must exist but may be
	// empty. Default empty: no file.
	File string
	// Switch is the name of a second file that only throws [Switches], such as one ConfigMap
	// for the pods of many releases. It need not exist. Default empty: the value of EnvSwitch
	// in the environment, if any.
	Switch string
	// Env is a list of NAME=value. Names without EnvPrefix are ignored. Nil: os.Environ().
	// Empty but not nil: no environment.
	Env []string
	// Set is a list of key=value, as from repeated -set flags. Default nil: none.
	Set []string
	// Strict makes rebalance.Load and WatchConfig refuse keys that do not exist. By default they
	// warn of them, so that a pod starts with a file or a chart of another version. A key of Set
	// that does not exist is an error in any case, since flags come with the program.
	Strict bool
	// Unknown takes the keys of File and Env that do not exist, joined, each an *Error; nil if there are none.
	// Load and Watch call it each time they have read the layers. If nothing else is wrong, they
	// go on. Default nil: such keys are errors.
	Unknown func(error)
}

func (l *Layers) environ() []string {
	if l.Env == nil {
		return os.Environ()
	}
	return l.Env
}

// Load returns the configuration of all layers. If anything is wrong, it returns the zero Config
// and all mistakes, joined; Errors lists them by key. A key that does not exist is such a mistake
// unless opts.Unknown takes it. The error of a file that cannot be read is that of package os, so
// errors.Is finds fs.ErrNotExist.
func Load(opts Layers) (Config, error) {
	var data []byte
	var err error
	if opts.File != "" {
		data, err = conf.ReadFile(opts.File)
	}
	return loadFrom(opts, data, err)
}

// loadFrom is Load after the file has been read.
func loadFrom(opts Layers, data []byte, readErr error) (Config, error) {
	cfg := Default()
	tree := conf.New(&cfg)
	known := tree.YAML(opts.File, data) && readErr == nil
	tree.Environ(EnvPrefix, opts.environ())
	tree.Set(opts.Set)
	checkEach(tree)
	// A file that could not be read might have set what seems to be missing.
	if known {
		checkTogether(cfg, tree)
	}
	wrong := tree.Err()
	if opts.Unknown != nil {
		opts.Unknown(joined(tree.Unknown()))
		if tree.Wrong() == nil { // otherwise the error lists all that there is to correct
			wrong = nil
		}
	}
	if err := errors.Join(asError(readErr), joined(wrong)); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Validate returns all mistakes in c, joined, each an *Error that begins with the path of
// its key. It returns nil if there is none.
func (c Config) Validate() error {
	tree := conf.New(&c)
	checkEach(tree)
	checkTogether(c, tree)
	return joined(tree.Err())
}

// YAML returns c as a file that Load reads back, with all keys, defaults included. It
// returns an error only if the YAML encoder does.
func (c Config) YAML() ([]byte, error) { return conf.Marshal(c) }

// ChangedKeys returns the keys whose values differ, in the order of the struct.
func ChangedKeys(before, after Config) []string {
	a, b := conf.New(&before), conf.New(&after)
	var keys []string
	for _, key := range a.Keys() {
		if !sameValue(a.Get(key), b.Get(key)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// RestartNeeded returns the keys whose values differ and that take effect only in a new
// process, in the order of the struct: policy.closeAtExpiry, those of grpc.NewServer
// (policy.maxConnectionIdle, keepaliveTime, keepaliveTimeout, minClientPing,
// permitWithoutStream), peers, clients and the two of shutdown. Balancer.Apply applies all others.
func RestartNeeded(before, after Config) []string {
	live := map[string]bool{}
	for _, r := range rules {
		live[r.key] = r.live
	}
	return slices.DeleteFunc(ChangedKeys(before, after), func(key string) bool { return live[key] })
}

// sameValue reports whether two values are equal. An empty list equals nil.
func sameValue(a, b any) bool {
	if x, ok := a.([]string); ok && len(x) == 0 {
		return len(b.([]string)) == 0
	}
	return reflect.DeepEqual(a, b)
}

func checkEach(tree *conf.Tree) {
	for _, r := range rules {
		if text := r.limit.wrong(tree.Get(r.key)); text != "" {
			tree.Add(r.key, "", text)
		}
	}
}

// checkTogether finds keys that do not go together, such as one that is empty although
// another needs it.
func checkTogether(c Config, tree *conf.Tree) {
	missing := ""
	switch c.Peers.Source {
	case SourceStatic:
		if len(c.Peers.Static) == 0 {
			missing = "peers.static"
		}
	case SourceDNS:
		if c.Peers.DNS.Name == "" {
			missing = "peers.dns.name"
		}
	case SourceKubernetes:
		if c.Peers.Kubernetes.Service == "" {
			missing = "peers.kubernetes.service"
		}
	}
	if missing != "" {
		where := cmp.Or(tree.Origin(missing), tree.Origin("peers.source"))
		tree.Add(missing, where, "is empty, but peers.source is "+c.Peers.Source+" and needs it")
	}
	checkTLS(tree)
	checkShutdown(c.Shutdown, tree)
}

// checkShutdown finds a minimum that leaves no time to drain connections.
func checkShutdown(s Shutdown, tree *conf.Tree) {
	if s.Minimum > 0 && s.Minimum >= s.Timeout {
		where := cmp.Or(tree.Origin("shutdown.minimum"), tree.Origin("shutdown.timeout"))
		tree.Add("shutdown.minimum", where, conf.Duration(s.Minimum)+" is not below shutdown.timeout ("+conf.Duration(s.Timeout)+
			"), which leaves no time to drain: raise shutdown.timeout, and terminationGracePeriodSeconds above it")
	}
}

// checkTLS finds the files of peers.tls that are missing although another one is set.
func checkTLS(tree *conf.Tree) {
	set := ""
	var empty []string
	for _, key := range []string{"peers.tls.cert", "peers.tls.key", "peers.tls.ca", "peers.tls.serverName"} {
		switch {
		case tree.Get(key) != "":
			set = cmp.Or(set, key)
		case key != "peers.tls.serverName":
			empty = append(empty, key)
		}
	}
	if set == "" {
		return
	}
	for _, key := range empty {
		tree.Add(key, cmp.Or(tree.Origin(key), tree.Origin(set)), "is empty, but "+set+" is set and needs it")
	}
}

// joined returns a tree's errors with the type that this package exports.
func joined(err error) error {
	var errs []error
	for _, e := range conf.Errors(err) {
		errs = append(errs, (*Error)(e))
	}
	return errors.Join(errs...)
}

func asError(err error) error {
	var e *conf.Error
	if errors.As(err, &e) {
		return (*Error)(e)
	}
	return err
}
