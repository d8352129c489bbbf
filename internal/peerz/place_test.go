package peerz

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// Pods notice that they hash keys differently. What they show of the salt is too little to
// confirm a guess.
func TestSaltCheck(t *testing.T) {
	with := NewHasher("correct horse battery staple")
	check := with.SaltCheck()
	if len(check) != 4 || !validKey(check) {
		t.Errorf("fingerprint %q, want 4 hexadecimal digits", check)
	}
	for salt, other := range map[string]bool{"": true, "correct horse battery stapl": true, "correct horse battery staple": false} {
		r := Report{Place: Place{SaltCheck: NewHasher(salt).SaltCheck()}}
		if got := with.OtherSalt(&r); got != other {
			t.Errorf("salt %q: other is %v, want %v", salt, got, other)
		}
	}
	if with.OtherSalt(&Report{}) {
		t.Error("an older version counts as one with another salt")
	}
}

// A zone that is no name, such as one from a wrong variable, must not cost the whole report.
func TestHandlerLeavesOutAnInvalidZone(t *testing.T) {
	for zone, want := range map[string]string{
		"eu-1a": "eu-1a", "": "", "a\nb": "", strings.Repeat("z", 63): strings.Repeat("z", 63), strings.Repeat("z", 64): "",
	} {
		rep := good
		rep.Place = Place{Zone: zone, Revision: zone, Out: true, SaltCheck: "0f1e"}
		w := httptest.NewRecorder()
		answer(w, http.MethodGet, rep, nil)
		got, err := decode(w.Body.Bytes(), nil)
		rep.Zone, rep.Revision = want, want
		if err != nil || !reflect.DeepEqual(got, rep) {
			t.Errorf("zone %q: got %+v, %v, want %+v", zone, got, err, rep)
		}
	}
}

func TestStartIsAnnounced(t *testing.T) {
	var heard []Start
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := StartOf(r); ok {
			heard = append(heard, s)
		}
		Handler(func([]string) Report { return good }).ServeHTTP(w, r)
	}))
	c := client(t, long)
	begun := Start{Pod: "pod ä;&=", Addr: netip.MustParseAddr("fd00::7")}
	starting := true
	c.Start = func() (Start, bool) { return begun, starting }
	for _, starting = range []bool{false, true, false} {
		if _, err := c.Ask(t.Context(), addr, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) != 1 || heard[0] != begun {
		t.Errorf("heard %+v, want %+v once", heard, begun)
	}
}
