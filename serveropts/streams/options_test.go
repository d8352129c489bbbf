package streams

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		opts []Option
		want []string
	}{
		"none":      {nil, []string{"neither OnDrain nor MaxAge"}},
		"no rule":   {[]Option{RetryDelay(0), SelfEnding(nil)}, []string{"neither OnDrain nor MaxAge"}},
		"at limits": {[]Option{OnDrain(nil, 0), OnDrain(nil, 24*time.Hour), MaxAge(nil, time.Second), MaxAge(nil, 8760*time.Hour), RetryDelay(time.Hour)}, nil},
		"beyond": {
			[]Option{OnDrain(nil, -1), OnDrain(nil, 25*time.Hour), MaxAge(nil, time.Millisecond), RetryDelay(2 * time.Hour)},
			[]string{
				"streams: OnDrain: wait is -1ns, allowed: 0s to 24h0m0s", "streams: OnDrain: wait is 25h0m0s",
				"streams: MaxAge: age is 1ms, allowed: 1s to 8760h0m0s", "streams: RetryDelay: longest is 2h0m0s, allowed: 0s to 1h0m0s",
			},
		},
		"names": {
			[]Option{OnDrain(Methods("/a.B/C", "a.B/D"), 0), MaxAge(AllBut("/a.B"), time.Hour), SelfEnding(Methods("/a/b/c"))},
			[]string{`OnDrain: "a.B/D" is no method`, `MaxAge: "/a.B" is no method`, `SelfEnding: "/a/b/c" is no method`, "/package.Service/*"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := StreamServerInterceptor(c.opts...)
			if (err != nil) != (c.want != nil) || (got == nil) != (err != nil) {
				t.Fatalf("got %v", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q:\n%v", part, err)
				}
			}
			if none := slices.ContainsFunc(c.want, func(s string) bool { return strings.HasPrefix(s, "neither") }); none != errors.Is(err, ErrNoRule) {
				t.Errorf("%v is ErrNoRule: %v", err, !none)
			}
		})
	}
}

func TestMatchers(t *testing.T) {
	m := []string{"/a.B/C", "/d.E/*"}
	for full, want := range map[string]bool{"/a.B/C": true, "/a.B/D": false, "/d.E/F": true, "/d.EF/F": false, "nonsense": false} {
		call := interceptors.NewServerCallMeta(full, nil, nil)
		if got := Methods(m...).Match(t.Context(), call); got != want {
			t.Errorf("Methods matches %s: %v", full, got)
		}
		if got := AllBut(m...).Match(t.Context(), call); got == want {
			t.Errorf("AllBut matches %s: %v", full, got)
		}
	}
}

func TestJitter(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 10_000 {
		d := jittered(time.Second)
		least, most = min(least, d), max(most, d)
	}
	if least < 900*time.Millisecond || least > 901*time.Millisecond || most < 1099*time.Millisecond || most > 1100*time.Millisecond {
		t.Errorf("1 s became %v to %v, want 0.9 s to 1.1 s", least, most)
	}
}
