package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What is shown of the upstream is what was found out last, however long it takes to show it.
func TestChangesAreShownInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown := ""
		u := newUpstream(&options{upstream: "127.0.0.1:1"}, func(away error, _ bool) {
			if away != nil {
				time.Sleep(time.Second)
			}
			shown = text(away)
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
