package conf

import (
	"testing"
	"time"
)

// The exact text is tested as well as the way back, since people see it, such as in a bug
// report.
func TestMarshalWritesWhatYAMLReads(t *testing.T) {
	in := defaults()
	in.Pace.Cooldown, in.Pace.MaxPerSecond = 2*time.Hour, 0.5
	in.Peers.Source, in.Peers.Static = "true", []string{"a", "::1", "10", "<<"}
	in.Peers.DNS.Name = "two\nlines"
	text, err := Marshal(&in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `pace:
  enabled: true
  maxPerSecond: 0.5
  cooldown: 2h
peers:
  source: "true"
  static: [a, '::1', "10", "<<"]
  port: 0
  dns:
    name: "two\nlines"
    interval: 2s
`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	var out sample
	tree := New(&out)
	tree.YAML("f", text)
	if err := tree.Err(); err != nil || out.Peers.Source != "true" || out.Peers.DNS.Name != "two\nlines" || len(out.Peers.Static) != 4 {
		t.Errorf("read back as %+v, %v", out, err)
	}
}
