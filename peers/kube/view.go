package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	discovery "k8s.io/api/discovery/v1"

	"github.com/evenkeel-go/evenkeel/peers"
)

// reportChanges reports each change of the view, and renews a view that still holds.
func (w *watcher) reportChanges(ctx context.Context, report func(peers.Membership)) {
	tick := time.NewTicker(w.src.pace.renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-tick.C:
		}
		if m, ok := w.view(); ok && ctx.Err() == nil {
			w.log(&m)
			report(m)
			sleep(ctx, w.src.pace.gap)
		}
	}
}

// view returns the membership to report now. It returns false if nothing is known.
func (w *watcher) view() (peers.Membership, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	holds := w.synced && (w.open || w.fresh)
	w.fresh = false
	switch {
	case holds:
		return w.membershipLocked(), true
	case w.err != nil:
		return peers.Membership{Err: w.err}, true
	case !w.waitingSince.IsZero() && time.Since(w.waitingSince) > w.src.pace.silent:
		return peers.Membership{Err: errors.New("the API server accepts the connection but does not answer")}, true
	}
	return peers.Membership{}, false
}

func (w *watcher) membershipLocked() peers.Membership {
	some := slices.Collect(maps.Values(w.slices))
	switch {
	case len(some) == 0:
		return peers.Membership{Err: fmt.Errorf("no EndpointSlice in namespace %q has the label %s=%s: check that the Service exists, "+
			"and that peers.kubernetes.service and peers.kubernetes.namespace name it", w.namespace, discovery.LabelServiceName, w.src.opts.Service)}
	case !slices.ContainsFunc(some, func(s *slice) bool { return !s.fqdn }):
		return peers.Membership{Err: fmt.Errorf("all EndpointSlices of Service %q have addressType FQDN: name a Service that selects pods", w.src.opts.Service)}
	}
	if w.members == nil {
		pods := gather(w.slices)
		w.members = listed(pods)
		w.unready.note(pods, time.Now())
	}
	m := peers.Membership{
		Members: w.members, Starting: w.unready.starting(time.Now()), StartingKnown: true, Warning: w.warning,
	}
	if slices.ContainsFunc(some, func(s *slice) bool { return s.headless }) {
		m.ClientName = w.src.clientName(w.namespace)
	}
	return m
}

// log logs one line for each change.
func (w *watcher) log(m *peers.Membership) {
	text := fmt.Sprintf("%d %v %s", len(m.Members), m.Err, m.Warning)
	if text == w.logged {
		return
	}
	w.logged = text
	log := w.src.opts.Logger.With("source", w.src.String())
	switch {
	case m.Err != nil:
		log.Warn("cannot find peers by EndpointSlices", "error", m.Err)
	case m.Warning != "":
		log.Warn("found peers by EndpointSlices, with a warning", "pods", len(m.Members), "warning", m.Warning)
	default:
		log.Info("found peers by EndpointSlices", "pods", len(m.Members))
	}
}
