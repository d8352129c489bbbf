package conf

import (
	"strings"
	"testing"
)

// FuzzTexts checks that a pair from the environment or a flag sets at most one key, or makes
// one error of one line.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{
		"pace.cooldown=30", "peers.static=a,,b", "EK_PEERS_PORT=tcp://x", "EK_PACE_COOLDWON=", "=", "", "a.b.c=\x00\n", "EK_=1", "EK__=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pair string) {
		for layer, lay := range map[string]func(*Tree){
			"environment": func(tree *Tree) { tree.Environ("EK_", []string{pair}) },
			"-set":        func(tree *Tree) { tree.Set([]string{pair}) },
		} {
			got := defaults()
			tree := New(&got)
			lay(tree)
			set := 0
			for _, key := range tree.Keys() {
				if tree.Origin(key) != "" {
					set++
				}
			}
			errs := Errors(tree.Err())
			if set+len(errs) > 1 || layer == "-set" && set+len(errs) != 1 {
				t.Fatalf("%s %q: %d keys set, errors %v", layer, pair, set, errs)
			}
			if len(errs) > 0 && strings.ContainsAny(errs[0].Error(), "\n\x00") {
				t.Fatalf("%s %q: the error is not one line: %q", layer, pair, errs[0].Error())
			}
		}
	})
}
