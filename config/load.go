package config

import (
	"cmp"
	"errors"
	"os"
	"reflect"
	"slices"

	"github.com/evenkeel-go/evenkeel/internal/conf"
)

// EnvPrefix begins the name of each environment variable that sets a key; the
// rest is the key in upper case with underscores for dots: rebalance.maxPerSecond
// is EVENKEEL_REBALANCE_MAXPERSECOND.
const EnvPrefix = "EVENKEEL_"

// Error is one thing wrong with one key. Load and Validate return
// several of them joined; Errors takes them apart.
type Error struct {
	// Key is the path of the key, such as "rebalance.tolerance", or what the user
	// wrote where there is no such key. Empty: a file as a whole is wrong.
	Key string
	// Where it was written: "config.yaml:7", "environment EVENKEEL_PEERS_PORT",
	// "-set". Empty: a default, or not loaded from anywhere.
	Where string
	// Text says what is wrong and, where possible, what to write instead.
	Text string
}

// Error is one line that begins with the key.
func (e *Error) Error() string { return (*conf.Error)(e).Error() }

// Errors returns each Error within err, in order, however it is
// joined or wrapped; none for nil or for an error of another kind, such as a file
// that cannot be read.
func Errors(err error) []*Error {
	switch e := err.(type) { //nolint:errorlint // it unwraps by itself, to find all
	case nil:
		return nil
	case *Error:
		return []*Error{e}
	case interface{ Unwrap() []error }:
		var all []*Error
		for _, one := range e.Unwrap() {
			all = append(all, Errors(one)...)
		}
		return all
	}
	return Errors(errors.Unwrap(err))
}

// Layers say where a configuration comes from. Each layer goes over the one
// before: defaults, File, Env, Set. The zero value takes the defaults and the
// process's environment.
type Layers struct {
	// File is a YAML file of at most 1 MiB. Empty: none. A file that is named must
	// exist; it may be empty.
	File string
	// Env is a list of NAME=value, of which the names that begin with EnvPrefix
	// count. Nil: os.Environ(). Empty but not nil: no environment.
	Env []string
	// Set is a list of key=value, as from repeated -set flags.
	Set []string
}

// Load returns the configuration of all layers, or everything that is
// wrong with them, joined: Errors lists it by key. A file that cannot be
// read is in it as the error of the os package, so that errors.Is finds
// fs.ErrNotExist.
func Load(opts Layers) (Config, error) {
	var data []byte
	var err error
	if opts.File != "" {
		data, err = conf.ReadFile(opts.File)
	}
	return loadFrom(opts, data, err)
}

// loadFrom is Load with the file read already.
func loadFrom(opts Layers, data []byte, readErr error) (Config, error) {
	cfg := Default()
	tree := conf.New(&cfg)
	known := tree.YAML(opts.File, data) && readErr == nil
	env := opts.Env
	if env == nil {
		env = os.Environ()
	}
	tree.Environ(EnvPrefix, env)
	tree.Set(opts.Set)
	checkEach(tree)
	// Of a file that could not be read nobody knows what it would have set:
	// that something is missing beside it would be a guess.
	if known {
		checkTogether(cfg, tree)
	}
	if err := errors.Join(asError(readErr), joined(tree)); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Validate returns everything that is wrong with c, joined, each a *Error
// that begins with the path of its key; nil if nothing is.
func (c Config) Validate() error {
	tree := conf.New(&c)
	checkEach(tree)
	checkTogether(c, tree)
	return joined(tree)
}

// YAML returns c as a file that Load reads back: all keys, defaults
// included.
func (c Config) YAML() ([]byte, error) { return conf.Marshal(c) }

// ChangedKeys returns the keys that differ, in the order of the struct.
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

// RestartNeeded returns the keys that differ and take effect only in a new
// process: those of grpc.NewServer (policy.maxConnectionIdle, keepaliveTime,
// keepaliveTimeout, minClientPing, permitWithoutStream), peers, clients and
// shutdown.timeout. All others take effect with Balancer.Apply.
func RestartNeeded(before, after Config) []string {
	live := map[string]bool{}
	for _, r := range rules {
		live[r.key] = r.live
	}
	return slices.DeleteFunc(ChangedKeys(before, after), func(key string) bool { return live[key] })
}

// sameValue takes an empty list for the same as none.
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

// checkTogether finds what is missing beside what is there.
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
}

// checkTLS finds the files of peers.tls that are missing beside those that are there.
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

// joined gives the tree's errors the type that callers can name.
func joined(tree *conf.Tree) error {
	var errs []error
	for _, e := range conf.Errors(tree.Err()) {
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
