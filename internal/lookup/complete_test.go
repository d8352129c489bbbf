package lookup

import "testing"

// A name of a Service is completed by the cluster's domain, so that it costs no search.
func TestComplete(t *testing.T) {
	const pod = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	for _, tc := range []struct{ name, conf, want string }{
		{"hello.shop.svc", pod, "hello.shop.svc.cluster.local."},
		{"HELLO.shop.SVC", pod, "HELLO.shop.SVC.cluster.local."},
		{"_grpc._tcp.hello.shop.svc", pod, "_grpc._tcp.hello.shop.svc.cluster.local."},
		{"hello.shop.svc", "search shop.svc.k8s.example. svc.k8s.example. k8s.example.\n", "hello.shop.svc.k8s.example."},
		{"hello.shop.svc", "search example.com\n", "hello.shop.svc"},
		{"hello.shop.svc", "# search svc.cluster.local\n", "hello.shop.svc"},
		{"hello.shop.svc", "", "hello.shop.svc"},
		{"hello.shop.svc.", pod, "hello.shop.svc."},
		{"hello", pod, "hello"},
		{"hello.shop", pod, "hello.shop"},
		{"hello.shop.svc.cluster.local", pod, "hello.shop.svc.cluster.local."},
		{"hello.shop.svc.cluster.local", "search example.com\n", "hello.shop.svc.cluster.local"},
		{"10.0.0.1", pod, "10.0.0.1"},
		{"example.com", pod, "example.com"},
	} {
		if got := complete(tc.name, tc.conf); got != tc.want {
			t.Errorf("%q with %q: got %q, want %q", tc.name, tc.conf, got, tc.want)
		}
	}
	if got := Complete("hello.shop.svc", "/no/such/file"); got != "hello.shop.svc" {
		t.Errorf("without a file: got %q", got)
	}
}
