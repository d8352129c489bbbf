package conf

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// EnvName returns the name of the environment variable for a key:
// "peers.dns.interval" with the prefix "EVENKEEL_" is EVENKEEL_PEERS_DNS_INTERVAL.
func EnvName(prefix, key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Environ lays the variables of environ ("NAME=value") that start with prefix
// over the struct. An empty value is the same as none, as templates often write
// one. A name that belongs to one of the struct's groups but to none of its keys
// is an error, and so is a near miss of a key; all else under the prefix is left
// to others.
func (t *Tree) Environ(prefix string, environ []string) {
	keys := map[string]string{}
	for _, key := range t.order {
		keys[EnvName(prefix, key)] = key
	}
	for _, pair := range sorted(environ) {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || !strings.HasPrefix(name, prefix) || serviceLink(name, value) {
			continue
		}
		if key, ok := keys[name]; ok {
			t.setText(key, value, "environment "+name)
			continue
		}
		meant := t.suggestEnv(prefix, name, keys)
		if meant != "" || t.claims(prefix, name) {
			t.Add(name, "environment", unknown("name", meant))
		}
	}
}

// sorted orders by name and keeps the order of equal names, of which the last
// one counts.
func sorted(environ []string) []string {
	out := slices.Clone(environ)
	slices.SortStableFunc(out, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Compare(a, b)
	})
	return out
}

// claims says whether a name lies within one of the struct's groups.
func (t *Tree) claims(prefix, name string) bool {
	for group := range t.groups {
		if strings.HasPrefix(name, EnvName(prefix, group)+"_") {
			return true
		}
	}
	return false
}

func (t *Tree) suggestEnv(prefix, name string, keys map[string]string) string {
	// Without the prefix, which all share and which would make anything short
	// look near. The underscores become dots: a near miss is judged by its last
	// word.
	path := func(s string) string {
		return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s, prefix), "_", "."))
	}
	candidates := map[string]string{}
	for env := range keys {
		candidates[path(env)] = env
	}
	var paths []string
	for p := range candidates {
		paths = append(paths, p)
	}
	return candidates[nearest(path(name), paths)]
}

var (
	linkName = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	linkPort = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// serviceLink recognises what Kubernetes puts into each pod's environment for
// each Service of its namespace. One called evenkeel-peers would otherwise keep
// the pods from starting with EVENKEEL_PEERS_PORT=tcp://10.0.0.7:8080.
func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || strings.HasSuffix(name, "_PORT") && linkPort.MatchString(value)
}

// Set lays "key=value" pairs over the struct, the last one of a key counting.
// Lists are written with commas; an empty value is an empty text or list.
func (t *Tree) Set(pairs []string) {
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		_, leaf := t.leaves[key]
		switch {
		case !ok:
			t.Add(key, "-set", "no value, write key=value")
		case leaf:
			t.setText(key, value, "-set")
		case t.groups[key]:
			t.Add(key, "-set", "holds further keys, set one of them")
		case t.full():
			t.Add(key, "-set", "") // counted only
		default:
			t.Add(key, "-set", unknown("key", t.suggest(key)))
		}
	}
}

// Pairs collects repeated -set flags: a flag.Value.
type Pairs []string

// String is part of flag.Value.
func (p *Pairs) String() string {
	if p == nil {
		return ""
	}
	return strings.Join(*p, " ")
}

// Set is part of flag.Value. It refuses only what is no pair at all; whether the
// key exists is found with everything else that is wrong.
func (p *Pairs) Set(pair string) error {
	if key, _, ok := strings.Cut(pair, "="); !ok || strings.TrimSpace(key) == "" {
		return fmt.Errorf("%s is not key=value", quote(pair))
	}
	*p = append(*p, pair)
	return nil
}
