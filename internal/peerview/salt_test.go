package peerview

import (
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// The answers of a pod that hashes keys with another salt are no answers: it would have no
// connection of any client.
func TestAnotherSaltIsNoticed(t *testing.T) {
	for name, tc := range map[string]struct {
		check string
		other bool
	}{
		"the same":         {peerz.NewHasher("pepper").SaltCheck(), false},
		"another":          {peerz.NewHasher("sugar").SaltCheck(), true},
		"none":             {peerz.NewHasher("").SaltCheck(), true},
		"an older version": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			at, _ := serveAt(t, "127.0.0.2", 0, telling(peerz.Report{Pod: "pod-b", Ready: true, Place: peerz.Place{SaltCheck: tc.check}}))
			b := asker(t, func(o *Options) { o.Salt = "pepper" }, podAt("pod-b", at))
			b.poll(t.Context())
			all := b.Peers("connections", "127.0.0.1")
			if len(all) != 1 || all[0].OtherSalt != tc.other {
				t.Errorf("peers are %+v, want another salt: %v", all, tc.other)
			}
			q := &plan.Query{ID: 1, Keys: map[string][]string{"127.0.0.2": {"k"}}}
			b.mu.Lock()
			where := map[string]target{"127.0.0.2": b.targetsLocked()[0]}
			b.mu.Unlock()
			if _, answered := b.askAll(t.Context(), q, where).ByPod["127.0.0.2"]; answered == tc.other {
				t.Errorf("the pod has answered: %v", answered)
			}
			want := ""
			if tc.other {
				want = "1 of 1 other pods hash clients' keys with another salt, so these pods and this one do not recognize each other's clients: " +
					"give all pods the same peers.salt: pod-b (127.0.0.2)"
			}
			if text := b.OtherSalts(); text != want {
				t.Errorf("got  %q\nwant %q", text, want)
			}
			b.Update(peers.Membership{Members: []peers.Member{podAt("pod-b", at)}}) // without this pod
			if text := b.OtherSalts(); text != want {
				t.Errorf("of a pod that is not listed: got  %q\nwant %q", text, want)
			}
		})
	}
}
