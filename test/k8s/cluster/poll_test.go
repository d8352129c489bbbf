//go:build linux

package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What was wrong all the time is told, and not that the last look was cut off.
func TestPollTellsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	err := poll(ctx, "well", func(ctx context.Context) (bool, error) {
		if looks++; looks == 2 {
			cancel()
			return false, ctx.Err()
		}
		return false, errors.New("no right to watch")
	})
	if err == nil || !strings.Contains(err.Error(), "no right to watch") {
		t.Error(err)
	}
}
