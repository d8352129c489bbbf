package chart

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// Wrong values must be refused, with a message that names the key and the problem.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, tc := range []struct{ values, key, why string }{
		{"evenkeel: {rebalance: {tolerence: 0.2}}", "/evenkeel/rebalance", "additional properties 'tolerence' not allowed"},
		{"evenkeel: {rebalanse: {}}", "/evenkeel", "additional properties 'rebalanse' not allowed"},
		{"replicas: 3", "''", "additional properties 'replicas' not allowed"},
		{"image: {name: a}", "/image", "additional properties 'name' not allowed"},
		{`evenkeel: {rebalance: {tolerance: "0.2"}}`, "/evenkeel/rebalance/tolerance", "got string, want number"},
		{"evenkeel: {rebalance: {tolerance: 2}}", "/evenkeel/rebalance/tolerance", "maximum: got 2, want 1"},
		{"evenkeel: {rebalance: {floor: 0.96}}", "/evenkeel/rebalance/floor", "want 0.95"},
		{"evenkeel: {rebalance: {maxStreams: 1.5}}", "/evenkeel/rebalance/maxStreams", "want integer"},
		{"evenkeel: {rebalance: {weight: cpu}}", "/evenkeel/rebalance/weight", "'connections', 'requests', 'streams'"},
		{`evenkeel: {rebalance: {enabled: "yes"}}`, "/evenkeel/rebalance/enabled", "got string, want boolean"},
		{"evenkeel: {peers: {source: k8s}}", "/evenkeel/peers/source", "'none', 'static', 'dns', 'kubernetes'"},
		{"evenkeel: {peers: {port: 65536}}", "/evenkeel/peers/port", "65,535"},
		{"evenkeel: {peers: {static: a}}", "/evenkeel/peers/static", "want array"},
		{"evenkeel: {peers: {kubernetes: {service: A_b}}}", "/evenkeel/peers/kubernetes/service", "does not match pattern"},
		{"evenkeel: {shutdown: {timeout: true}}", "/evenkeel/shutdown/timeout", "got boolean"},
		{"grpc: {port: 0}", "/grpc/port", "minimum"},
		{"preStop: {sleepSeconds: -1}", "/preStop/sleepSeconds", "minimum"},
		{"preStop: {sleepSeconds: 5s}", "/preStop/sleepSeconds", "want integer"},
		{"image: {tag: 'a:b'}", "/image/tag", "does not match pattern"},
		{"image: {digest: abc}", "/image/digest", "does not match pattern"},
		{"image: {pullPolicy: Sometimes}", "/image/pullPolicy", "'Always'"},
		{"commonLabels: {a: 1}", "/commonLabels/a", "want string"},
		{"extraArgs: -v", "/extraArgs", "want array"},
		{"probes: {readiness: tcp}", "/probes/readiness", "'grpc'"},
		{"podDisruptionBudget: {maxUnavailable: most}", "/podDisruptionBudget/maxUnavailable", "does not match pattern"},
		{"prometheusRule: {disabled: [Evenkeel]}", "/prometheusRule/disabled/0", "'EvenkeelStaleView'"},
		{"serviceMonitor: {interval: 30}", "/serviceMonitor/interval", "want string"},
		{"terminationGracePeriodSeconds: 20", "terminationGracePeriodSeconds", "is too short"},
		{"autoscaling: {enabled: true, minReplicas: 20}", "autoscaling.minReplicas", "is above"},
		{"autoscaling: {enabled: true, targetCPUUtilizationPercentage: 0}", "autoscaling.enabled", "without a metric to scale by"},
		{"evenkeel: {peers: {source: static}}", "evenkeel.peers.static", "is empty"},
		{"evenkeel: {peers: {dns: {name: 'dns:///hello'}}}", "/evenkeel/peers/dns/name", "does not match pattern"},
		{"evenkeel: {clients: {dns: {name: 'hello:50051'}}}", "/evenkeel/clients/dns/name", "does not match pattern"},
		{"{probes: {readiness: grpc}, grpc: {tls: {secretName: a}}}", "probes.readiness", "no pod would ever be ready"},
		{"{gateway: {enabled: true}, grpc: {tls: {secretName: a, clientAuth: true}}}", "gateway.enabled", "needs no certificate"},
		{"grpc: {port: 8080}", "http.port", "8080 is the port of grpc.port as well"},
		{"{gateway: {enabled: true, port: 50051}}", "gateway.port", "50051 is the port of grpc.port as well"},
		{"{gateway: {enabled: true, port: 8080}}", "gateway.port", "8080 is the port of http.port as well"},
		{"evenkeel: {peers: {port: 50051}}", "evenkeel.peers.port", "50051 is the port of grpc.port as well"},
		{"http: {portName: grpc}", "/http/portName", "'not' failed"},
		{"http: {portName: an-endless-name-x}", "/http/portName", "does not match pattern"},
		{"serviceAccount: {create: false}", "serviceAccount.name", "is empty"},
		{"{serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}", "podMonitor.enabled", "double"},
		{"extraEnv: [{name: EVENKEEL_SHUTDOWN_TIMEOUT, value: 60s}]", "extraEnv", "set evenkeel.shutdown.timeout instead"},
		{"extraEnv: [{name: EVENKEEL_SHUTDOWN_MINIMUM, value: 10s}]", "extraEnv", "set evenkeel.shutdown.minimum instead"},
		{"extraEnv: [{name: EVENKEEL_PEERS_PORT, value: '1'}]", "extraEnv", "set evenkeel.peers.port instead"},
		{"networkPolicy: {egress: {enabled: true, dnsPorts: []}}", "/networkPolicy/egress/dnsPorts", "minItems"},
		{"networkPolicy: {egress: {apiServerPorts: [0]}}", "/networkPolicy/egress/apiServerPorts/0", "minimum"},
		{"networkPolicy: {egress: true}", "/networkPolicy/egress", "want object"},
		{"probes: {livenessTimeoutSeconds: 0}", "/probes/livenessTimeoutSeconds", "minimum"},
		{"{helmTest: {enabled: true}, args: [-v]}", "helmTest.command", "does not know the flag -check"},
		{"helmTest: {command: curl}", "/helmTest/command", "want array"},
	} {
		_, err := tryRender(t, parse(t, tc.values))
		if err == nil || !strings.Contains(err.Error(), tc.key) || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: got error %v, want %q and %q", tc.values, err, tc.key, tc.why)
		}
	}
}

// The ranges of durations in docs/settings.md hold for the chart, too. A value that the server
// refuses must not get as far as the next pod that starts.
func TestRangesOfDurations(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| [^|]+ \\| (0, or )?([0-9]+m?[sh]|[0-9]+m) to ([0-9]+[smh]) \\|").
		FindAllStringSubmatch(read(t, "../../docs/settings.md"), -1)
	if len(rows) < 12 {
		t.Fatalf("docs/settings.md has %d rows of durations, want at least 12: %v", len(rows), rows)
	}
	for _, row := range rows {
		key, zero, least, most := row[1], row[2] != "", duration(t, row[3]), duration(t, row[4])
		for _, tc := range []struct {
			d  time.Duration
			ok bool
		}{{0, zero || least == 0}, {least - time.Millisecond, least <= time.Millisecond && zero}, {least, true}, {most, true}, {most + time.Second, false}} {
			if tc.d < 0 {
				continue
			}
			set := nest("evenkeel."+key, tc.d.String())
			if key == "shutdown.minimum" { // it must be below the timeout
				set["evenkeel"].(values)["shutdown"].(values)["timeout"] = "1h"
			}
			if _, err := tryRender(t, set); (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "evenkeel."+key) {
				t.Errorf("%s=%v: got error %v, want accepted %v", key, tc.d, err, tc.ok)
			}
		}
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The schema must cover every value of values.yaml, and values.yaml must document every key
// of the schema.
func TestSchemaIsComplete(t *testing.T) {
	known := schemaKeys(t, "", schema(t), values{})
	given := flatten("", parse(t, read(t, chartDir+"/values.yaml")), values{})
	for key := range given {
		if _, ok := known[key]; !ok && known[parentIn(known, key)] == nil {
			t.Errorf("values.schema.json lacks the key %s", key)
		}
	}
	comments := documented(t)
	for key := range known {
		if key != "global" && comments[key] == nil {
			t.Errorf("values.yaml does not document %s", key)
		}
	}
}

// parentIn returns the longest parent of a dotted key that is in m, empty if there is none.
// The schema leaves some trees open, and has only their root.
func parentIn(m values, key string) string {
	for {
		i := strings.LastIndex(key, ".")
		if i < 0 {
			return ""
		}
		if key = key[:i]; m[key] != nil {
			return key
		}
	}
}
