package conf

import (
	"slices"
	"testing"
)

// The values of a key are found in any text that a person could mean them in, and in no other.
func TestGlean(t *testing.T) {
	for _, tc := range []struct {
		text  string
		want  []string
		whole bool
	}{
		{"", nil, true},
		{"rebalance: {enabled: false}", []string{"false"}, true},
		{"rebalance:\n  enabled: false", []string{"false"}, true},
		{"rebalance.enabled: false", []string{"false"}, true},
		{"Rebalance: {Enabled: FALSE}", []string{"FALSE"}, true},
		{"rebalance: {enabled: true, enabled: false}", []string{"true", "false"}, true},
		{"rebalance: {enabled: true}\nrebalance: {enabled: false}", []string{"true", "false"}, true},
		{"rebalance: {enabled: true}\n---\nrebalance: {enabled: false}", []string{"true", "false"}, true},
		{"rebalance: {enabled: }", nil, true},
		{"rebalance: {enabled: [false]}", []string{"?"}, true},
		{"r: &r {enabled: false}\nrebalance: *r", []string{"false"}, true},
		{"r: &r {enabled: false}\nrebalance: {<<: *r}", []string{"false"}, true},
		{"rebalance: &r {<<: *r, enabled: false}", []string{"false"}, true},
		{"peers: {enabled: false}\nrebalance: {settle: 1s}", nil, true},
		{"enabled: false", nil, true},
		{"# rebalance: {enabled: false}", nil, true},
		{"rebalance: [", nil, false},
		{"rebalance [", nil, false},
		{"rebalance:\n  enabled: false\n  settle: [", []string{"false"}, false},
		{"rebalance:\n\tenabled: false", []string{"false"}, false},
		{"rebalance:\r\n\tenabled: false # now\r\n", []string{"false"}, false},
		{"rebalance: {enabled: false", []string{"false"}, false},
		{"rebalance: {settle: 2s,\n enabled: \"false\"", []string{"false"}, false},
		{`{"rebalance": {"enabled": false}`, []string{"false"}, false},
		{"{\n\"rebalance\": {\n\"enabled\": false", []string{"false"}, false},
		{"rebalance: {a: 1}\nenabled: false\nb: [", nil, false},
		{"rebalance:\n  #enabled: false\n  a: [", nil, false},
		{"rebalance:\n  a: 1\npeers:\n  enabled: false\n  b: [", nil, false},
		{"rebalance: {a: 1}\npeers: {enabled: false, b: [", nil, false},
		{"rebalance:\n  enabled: null\n  b: [", nil, false},
		{"rebalance.enabled: false\nb: [", []string{"false"}, false},
		{"\ufeffrebalance:\n  enabled: false\n  b: [", []string{"false"}, false},
	} {
		got, whole := Glean([]byte(tc.text), "rebalance", "enabled")
		if !slices.Equal(got, tc.want) || whole != tc.whole {
			t.Errorf("%q: got %q, %t, want %q, %t", tc.text, got, whole, tc.want, tc.whole)
		}
	}
}

// FuzzGlean: any text is read, and what the loader reads is found.
func FuzzGlean(f *testing.F) {
	for _, s := range []string{"rebalance: {enabled: false}", "rebalance:\n\tenabled: false", "a: &a {<<: *a}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := struct {
			Rebalance struct {
				Enabled bool `json:"enabled"`
			} `json:"rebalance"`
		}{}
		cfg.Rebalance.Enabled = true
		tree := New(&cfg)
		valid := tree.YAML("f", data) && tree.Err() == nil
		values, _ := Glean(data, "rebalance", "enabled")
		if valid && !cfg.Rebalance.Enabled && !slices.ContainsFunc(values, func(v string) bool { return fold(v) == "false" }) {
			t.Errorf("the loader read false, and the values are %q", values)
		}
	})
}
