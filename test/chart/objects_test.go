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

// decoder returns a decoder that refuses unknown fields and duplicate keys.
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

// decode returns the objects of a rendered text by kind and name, such as "Service hello".
// It fails t if a document is not a valid object, or if two objects have the same name.
func decode(t *testing.T, text string) map[string]runtime.Object {
	t.Helper()
	out := map[string]runtime.Object{}
	dec := decoder(t)
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		if doc = strings.TrimSpace(doc); doc != "" {
			decodeOne(t, out, dec, []byte(doc))
		}
	}
	return out
}

func decodeOne(t *testing.T, out map[string]runtime.Object, dec runtime.Decoder, doc []byte) {
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
		t.Errorf("%s is rendered twice", key)
	}
	out[key] = obj
}

// get returns the object under key, such as "Service hello".
func get[T runtime.Object](t *testing.T, objs map[string]runtime.Object, key string) T {
	t.Helper()
	obj, ok := objs[key].(T)
	if !ok {
		t.Fatalf("%s is not rendered", key)
	}
	return obj
}

// Every manifest must decode strictly: no field may be unknown to the API.
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

// The strict decoder must refuse misspelt fields, duplicate keys and unknown versions.
func TestStrictDecoderRefuses(t *testing.T) {
	for _, doc := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIp: None}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}",
		"apiVersion: v9\nkind: Service",
	} {
		if _, _, err := decoder(t).Decode([]byte(doc), nil, nil); err == nil {
			t.Errorf("the decoder accepted %q", doc)
		}
	}
}

// Names must fit into DNS labels and Kubernetes labels, however long the release's name is.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("abcdefghi-", 6)[:53] // the longest name that helm accepts
	v := parse(t, "{nameOverride: keeper, peersSalt: {create: true}, prometheusRule: {enabled: true}, "+
		"peersTLS: {certificate: {create: true, issuerRef: {name: ca}}}}")
	files, err := renderFiles(load(t, chartDir), long, v)
	if err != nil {
		t.Fatal(err)
	}
	objs := decode(t, manifests(files))
	for key := range objs {
		if name := strings.Fields(key)[1]; len(name) > 63 || strings.HasSuffix(name, "-") {
			t.Errorf("%s: the name has %d characters or ends with a dash, want at most 63", key, len(name))
		}
	}
	cm := get[*corev1.ConfigMap](t, objs, "ConfigMap "+long+"-keeper")
	headless := long + "-headless"
	if objs["Service "+headless] == nil || !strings.Contains(cm.Data["config.yaml"], "service: "+headless+"\n") {
		t.Errorf("the headless Service is not %s in both places: %v", headless, cm.Data)
	}
}

// If the user and the chart set the same label or annotation, it must be rendered once, with
// the value that has precedence.
func TestLabelPrecedence(t *testing.T) {
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
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
