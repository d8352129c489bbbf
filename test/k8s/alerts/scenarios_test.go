//go:build linux && e2e

package alerts

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// brokenImage makes a release run the server in broken.
const brokenImage = "image.repository=" + brokenRepository

// notFired has the alerts that no fault here fires, and why.
var notFired = map[string]string{
	"EvenkeelChurn": "pods move so little that neither flapping replicas nor pinned clients of pods that are deleted reach it",
}

// scenarios are the faults that releases can have beside each other. Those that take long come
// first.
var scenarios = []scenario{
	{
		name: "pinned", cause: "20 connections that always come back to one of 3 pods",
		alerts: []string{"EvenkeelUneven", "EvenkeelUnbalanceable"}, within: 8 * time.Minute,
		fault: pin,
		mend: func(t *testing.T, r *release) {
			r.c.Kubectl(t, "-n", r.ns, "delete", "pod", "load", "--wait=false")
		},
	},
	{
		name: "grace", cause: "`maxConnectionAgeGrace: 1s` and streams that never end",
		alerts: []string{"EvenkeelForcedCloses"},
		fault: func(t *testing.T, r *release) {
			r.c.Load(t, r.ns, cluster.Load{Name: "load", Target: r.headless(), Method: "watch"})
			r.helm(t, "upgrade", "evenkeel.policy.maxConnectionAge=5s", "evenkeel.policy.maxConnectionAgeGrace=1s")
		},
		mend: func(t *testing.T, r *release) { r.helm(t, "upgrade", "evenkeel.policy.maxConnectionAge=0s") },
	},
	{
		name: "untracked", cause: "a server with `grpc.Creds` after `serveropts.Options`",
		alerts: []string{"EvenkeelBroken"}, settings: []string{brokenImage, "extraArgs={-fault=untracked}"},
		mend: fixed,
	},
	{
		name: "gone", cause: "no pod is left",
		alerts: []string{"EvenkeelAbsent"},
		fault:  func(t *testing.T, r *release) { r.scale(t, 0) },
		mend:   func(t *testing.T, r *release) { r.scale(t, replicas) },
	},
	{
		name: "role", cause: "the Role is missing",
		alerts: []string{"EvenkeelStaleView"}, settings: []string{"rbac.create=false"},
		mend: func(t *testing.T, r *release) { r.helm(t, "upgrade", "rbac.create=true") },
	},
	{
		name: "stuck", cause: "a function of `rebalance.WithShare` that hangs",
		alerts: []string{"EvenkeelStuck"}, settings: []string{brokenImage, "extraArgs={-fault=stuck}"},
		may:  []string{"EvenkeelPeersSilent", "EvenkeelStaleView"},
		mend: fixed,
	},
	{
		name: "network", cause: "packets between the pods' health ports are dropped",
		alerts: []string{"EvenkeelPeersSilent"}, may: []string{"EvenkeelStaleView"},
		fault: cut,
		mend:  func(t *testing.T, r *release) { r.nft(t, "delete table inet "+r.ns) },
	},
	{
		name: "config", cause: "`tolerance: lots` in the ConfigMap",
		alerts: []string{"EvenkeelConfigRejected"},
		fault: func(t *testing.T, r *release) {
			r.configure(t, func(old string) string { return old + "\n" + wrongSettings })
		},
		mend: func(t *testing.T, r *release) {
			r.configure(t, func(now string) string { return strings.TrimSuffix(now, "\n"+wrongSettings) })
		},
	},
	{
		name: "certificate", cause: "a certificate with 10 of its 130 minutes left",
		alerts: []string{"EvenkeelCertificateExpires"}, settings: []string{"peersTLS.secretName=" + certSecret},
		prepare: func(t *testing.T, r *release) { r.certificate(t, 10*time.Minute) },
		mend:    func(t *testing.T, r *release) { r.certificate(t, 24*time.Hour) },
	},
	{
		name: "restart", cause: "a changed `policy.keepaliveTime`",
		alerts: []string{"EvenkeelRestartNeeded"},
		fault:  func(t *testing.T, r *release) { r.helm(t, "upgrade", "evenkeel.policy.keepaliveTime=1m") },
		mend: func(t *testing.T, r *release) {
			r.c.Kubectl(t, "-n", r.ns, "rollout", "restart", "deploy/hello")
			r.c.WaitRollout(t, r.ns, "hello")
		},
	},
	{
		name: "switch", cause: "`enabled: false` in the ConfigMap of the kill switch",
		alerts: []string{"EvenkeelSwitchedOff"},
		fault:  func(t *testing.T, r *release) { r.c.Apply(t, r.ns, fmt.Sprintf(killSwitch, false)) },
		mend:   func(t *testing.T, r *release) { r.c.Apply(t, r.ns, fmt.Sprintf(killSwitch, true)) },
	},
}

// outage is the fault of everything at once. The release's alert must be a single one.
var outage = scenario{
	name: "outage", cause: "the API server is gone",
	alerts: []string{"EvenkeelStaleView"},
	fault: func(t *testing.T, r *release) {
		if err := r.c.Kill("kube-apiserver"); err != nil {
			t.Fatal(err)
		}
	},
	mend: func(t *testing.T, r *release) {
		if err := r.c.Start("kube-apiserver"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.c.WaitAPI(ctx); err != nil {
			t.Fatal(err)
		}
	},
}

const wrongSettings = "rebalance: {tolerance: lots}\n"

const killSwitch = `
apiVersion: v1
kind: ConfigMap
metadata: {name: evenkeel-switch}
data: {evenkeel.yaml: "rebalance: {enabled: %v}"}
`

// fixed mends a server in broken.
func fixed(t *testing.T, r *release) {
	r.helm(t, "upgrade", brokenImage, "extraArgs={-fault=}")
	r.c.WaitRollout(t, r.ns, "hello")
}

// pin starts a client that knows one pod only, and then adds a pod, so that the pods try to even
// the load out at once.
func pin(t *testing.T, r *release) {
	r.c.Load(t, r.ns, cluster.Load{
		Name: "load", Target: "dns:///" + r.pods(t)[0].IP + ":50051", LB: "pick_first", Channels: 20,
	})
	r.scale(t, replicas+1)
}

// cut drops what pods of the release send to each other's health ports. Prometheus, on the node,
// is not concerned.
func cut(t *testing.T, r *release) {
	var addresses []string
	for _, p := range r.pods(t) {
		addresses = append(addresses, p.IP)
	}
	r.nft(t, "add table inet "+r.ns)
	r.nft(t, "add chain inet "+r.ns+" cut { type filter hook forward priority 0; }")
	r.nft(t, "add rule inet "+r.ns+" cut ip saddr { "+strings.Join(addresses, ", ")+" } tcp dport "+cluster.HealthPort+" drop")
}

func (r *release) nft(t *testing.T, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := r.c.Command(ctx, "nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}
