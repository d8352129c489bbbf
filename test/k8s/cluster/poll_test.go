//go:build linux

package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// If the time is over, poll must return the last real error, and not that its last attempt
// was cut off.
func TestPollReturnsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	err := poll(ctx, "well", func(ctx context.Context) (bool, error) {
		if attempts++; attempts == 2 {
			cancel()
			return false, ctx.Err()
		}
		return false, errors.New("no right to watch")
	})
	if err == nil || !strings.Contains(err.Error(), "no right to watch") {
		t.Errorf("got error %v, want the cause: no right to watch", err)
	}
}
