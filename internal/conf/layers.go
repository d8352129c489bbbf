package conf

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// EnvName returns the name of the environment variable for a key. With the prefix
// "EVENKEEL_", that of "peers.dns.interval" is EVENKEEL_PEERS_DNS_INTERVAL.
func EnvName(prefix, key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Environ applies the variables of environ ("NAME=value") that start with prefix. An empty
// value counts as not set, since templates often write one.
//
// A name that belongs to a group of the struct but to none of its keys is an error, and so
// is a near miss of a key. Other names with the prefix are not the struct's, and are ignored.
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
			t.addUnknown("name", name, "environment", func() string { return meant })
		}
	}
}

// sorted orders environ by name. It keeps the order of equal names, since the last one
// counts.
func sorted(environ []string) []string {
	out := slices.Clone(environ)
	slices.SortStableFunc(out, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Compare(a, b)
	})
	return out
}

// claims reports whether a name belongs to one of the struct's groups.
func (t *Tree) claims(prefix, name string) bool {
	for group := range t.groups {
		if strings.HasPrefix(name, EnvName(prefix, group)+"_") {
			return true
		}
	}
	return false
}

func (t *Tree) suggestEnv(prefix, name string, keys map[string]string) string {
	// All names share the prefix, which would make any short name look near. Underscores
	// become dots, since nearest judges by the last word.
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

// serviceLink reports whether Kubernetes made the variable: it puts some into the
// environment of each pod for each Service of the namespace. Otherwise a Service called
// evenkeel-peers would keep pods from starting, by EVENKEEL_PEERS_PORT=tcp://10.0.0.7:8080.
func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || strings.HasSuffix(name, "_PORT") && linkPort.MatchString(value)
}

// Set applies "key=value" pairs; of several pairs for a key the last one counts. Lists are
// written with commas. An empty value is an empty text or list.
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
		default:
			// A flag comes and goes with the program's image, so no other version wrote it.
			t.Add(key, "-set", unknown("key", t.suggest(key)))
		}
	}
}
