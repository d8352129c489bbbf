package chart

import (
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// decoder refuses fields that the API does not have, and keys that stand twice.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme, certmanager.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}

// decode returns the objects of a rendered text by kind and name, such as
// "Service hello". It fails t where something is no object, or no name stands once.
func decode(t *testing.T, text string) map[string]runtime.Object {
	t.Helper()
	out := map[string]runtime.Object{}
	dec := decoder(t)
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		if doc = strings.TrimSpace(doc); doc != "" {
			keep(t, out, dec, []byte(doc))
		}
	}
	return out
}

func keep(t *testing.T, out map[string]runtime.Object, dec runtime.Decoder, doc []byte) {
	t.Helper()
	obj, kind, err := dec.Decode(doc, nil, nil)
	if err != nil {
		t.Errorf("%v in\n%s", err, doc)
		return
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		t.Fatal(err)
	}
	key := kind.Kind + " " + m.GetName()
	if out[key] != nil {
		t.Errorf("%s twice", key)
	}
	out[key] = obj
}

// get is the object of that kind and name.
func get[T runtime.Object](t *testing.T, objs map[string]runtime.Object, key string) T {
	t.Helper()
	obj, ok := objs[key].(T)
	if !ok {
		t.Fatalf("no %s", key)
	}
	return obj
}

// Every manifest is one that the API knows, to the last field.
func TestObjectsAreStrict(t *testing.T) {
	eachCI(t, func(t *testing.T, v values) {
		for key, obj := range decode(t, render(t, v)) {
			m, err := meta.Accessor(obj)
			if err != nil {
				t.Fatal(err)
			}
			if name := m.GetLabels()["app.kubernetes.io/instance"]; name != release && !strings.HasPrefix(key, "ConfigMap ") {
				t.Errorf("%s: labels %v", key, m.GetLabels())
			}
		}
	})
}

// What the strict decoder is there for.
func TestStrictDecoderRefuses(t *testing.T) {
	for _, doc := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIp: None}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}",
		"apiVersion: v9\nkind: Service",
	} {
		if _, _, err := decoder(t).Decode([]byte(doc), nil, nil); err == nil {
			t.Errorf("took %q", doc)
		}
	}
}

// Names stay within what DNS and labels may have, however long a release's name is.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("abcdefghi-", 6)[:53] // the longest that helm takes
	v := parse(t, "{nameOverride: keeper, peersSalt: {create: true}, prometheusRule: {enabled: true}, "+
		"peersTLS: {certificate: {create: true, issuerRef: {name: ca}}}}")
	files, err := renderFiles(load(t, chartDir), long, v)
	if err != nil {
		t.Fatal(err)
	}
	objs := decode(t, manifests(files))
	for key := range objs {
		if name := strings.Fields(key)[1]; len(name) > 63 || strings.HasSuffix(name, "-") {
			t.Errorf("%s: %d characters", key, len(name))
		}
	}
	cm := get[*corev1.ConfigMap](t, objs, "ConfigMap "+long+"-keeper")
	headless := long + "-headless"
	if objs["Service "+headless] == nil || !strings.Contains(cm.Data["config.yaml"], "service: "+headless+"\n") {
		t.Errorf("the headless Service is not %s everywhere: %v", headless, cm.Data)
	}
}

// No key stands twice where users' labels and annotations meet the chart's.
func TestLabelsMeet(t *testing.T) {
	v := parse(t, `
commonLabels: {app.kubernetes.io/version: v7, app.kubernetes.io/name: other}
commonAnnotations: {kubectl.kubernetes.io/default-container: proxy, a: common}
podAnnotations: {a: pod}
podLabels: {app.kubernetes.io/name: other}
service: {annotations: {a: service}}
podMonitor: {enabled: true, labels: {app.kubernetes.io/version: v8}}
`)
	objs := decode(t, render(t, v))
	d := get[*appsv1.Deployment](t, objs, "Deployment hello")
	for _, tc := range []struct{ got, want string }{
		{d.Labels["app.kubernetes.io/version"], "v7"},
		{d.Labels["app.kubernetes.io/name"], "evenkeel"},
		{d.Spec.Template.Labels["app.kubernetes.io/name"], "evenkeel"},
		{d.Spec.Template.Annotations["kubectl.kubernetes.io/default-container"], "proxy"},
		{d.Spec.Template.Annotations["a"], "pod"},
		{get[*corev1.Service](t, objs, "Service hello").Annotations["a"], "service"},
		{get[*monitoring.PodMonitor](t, objs, "PodMonitor hello").Labels["app.kubernetes.io/version"], "v8"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}
