package main

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What is shown of the upstream is what was found out last, however long it takes to show it.
func TestChangesAreShownInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown := ""
		u := newUpstream(&options{upstream: "127.0.0.1:1"}, func(to reached) {
			if to.away != nil {
				time.Sleep(time.Second)
			}
			shown = text(to.away)
		})
		go u.note(errors.New("refused"))
		synctest.Wait()
		go u.note(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if shown != "" || u.Err() != nil {
			t.Errorf("shown is %q, and the upstream is %v; want both reached", shown, u.Err())
		}
	})
}

// A lack of ports or descriptors of this process is not the upstream's absence: the pod stays ready,
// and its own condition has the cure.
func TestShortagesAreNoAbsence(t *testing.T) {
	for err, cure := range map[error]string{
		syscall.EADDRNOTAVAIL: "-upstream unix:/path",
		syscall.EMFILE:        "open files",
		syscall.ENFILE:        "open files",
	} {
		e := startEcho(t, "tcp", "127.0.0.1:0", "")
		s := start(t, e.Addr().String())
		s.awaitReady(t)
		s.up.note(err)
		if got := s.up.Err(); got != nil {
			t.Errorf("%v: the upstream counts as away: %v", err, got)
		}
		conditions := s.bal.Status().Conditions
		if len(conditions) != 1 || conditions[0].Code != "upstream-limit" || !strings.Contains(conditions[0].Text, cure) {
			t.Errorf("%v: got the conditions %+v, want upstream-limit with %q", err, conditions, cure)
		}
		s.up.note(nil)
		if conditions := s.bal.Status().Conditions; len(conditions) != 0 {
			t.Errorf("%v: got the conditions %+v once a connection could be made, want none", err, conditions)
		}
		s.stop(t)
	}
}
