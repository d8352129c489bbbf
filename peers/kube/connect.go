package kube

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// env is where a pod finds the data that Kubernetes gives it.
type env struct {
	get        func(string) string
	account    string // directory with the token, the CA and the namespace
	resolvConf string // name of the file
}

func podEnv() env {
	return env{
		get: os.Getenv, account: "/var/run/secrets/kubernetes.io/serviceaccount", resolvConf: "/etc/resolv.conf",
	}
}

// namespace finds the namespace again for each request, since the token may be mounted late.
func (s *Source) namespace() (string, error) {
	if s.opts.Namespace != "" {
		return s.opts.Namespace, nil
	}
	data, _ := os.ReadFile(filepath.Join(s.env.account, "namespace"))
	if ns := cmp.Or(strings.TrimSpace(string(data)), s.env.get("POD_NAMESPACE")); ns != "" {
		return ns, nil
	}
	if s.opts.Kubeconfig != "" {
		ns, _, err := s.kubeconfig().Namespace()
		return ns, err
	}
	return "", errors.New("the namespace is not known: set peers.kubernetes.namespace, or $POD_NAMESPACE by the downward API")
}

func (s *Source) kubeconfig() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: s.opts.Kubeconfig}, nil)
}

// config returns how to reach the API server.
func (s *Source) config() (*rest.Config, error) {
	if s.opts.Kubeconfig == "" {
		return s.inCluster()
	}
	cfg, err := s.kubeconfig().ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("peers.kubernetes.kubeconfig: %s: %w", s.opts.Kubeconfig, err)
	}
	return cfg, nil
}

// inCluster is rest.InClusterConfig with errors that name the cure.
func (s *Source) inCluster() (*rest.Config, error) {
	host, port := s.env.get("KUBERNETES_SERVICE_HOST"), s.env.get("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this process does not run in a pod ($KUBERNETES_SERVICE_HOST and _PORT are not set): " +
			"set peers.kubernetes.kubeconfig to run outside a cluster")
	}
	token, ca := filepath.Join(s.env.account, "token"), filepath.Join(s.env.account, "ca.crt")
	if _, err := os.ReadFile(filepath.Join(s.env.account, "token")); err != nil {
		return nil, fmt.Errorf("this pod has no service account token (%w): "+
			"set automountServiceAccountToken: true for the pod or its ServiceAccount, and restart the pod", err)
	}
	return &rest.Config{
		Host: "https://" + net.JoinHostPort(host, port), BearerTokenFile: token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
	}, nil
}

// client is a connection to the API server.
type client struct {
	*rest.RESTClient

	trans *capped
	idle  func() // closes idle connections
}

const (
	// maxList bounds the bytes of a list. The list of 100,000 pods has 20 MiB.
	maxList = 64 << 20
	// pingAfter is the silence after which a connection is pinged, pingTimeout the time to
	// answer. Without pings, a server that vanished would look like one without news.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// connect returns a client that has not dialed yet. client-go's own transports stay in a
// cache forever, and would keep connections open after Run.
func (s *Source) connect() (*client, error) {
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := discovery.AddToScheme(scheme); err != nil {
		return nil, err
	}
	cfg.APIPath, cfg.GroupVersion = "/apis", &discovery.SchemeGroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "evenkeel")
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.QPS = -1 // the watcher has its own rate limit
	trans, own, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	// The headers of a watch come at once, even if nothing changes. This ends the wait for
	// a server that hangs but answers pings.
	own.ResponseHeaderTimeout = 2 * s.pace.silent
	c := &capped{RoundTripper: trans}
	rc, err := rest.RESTClientForConfigAndClient(cfg, &http.Client{Transport: c})
	if err != nil {
		return nil, err
	}
	return &client{RESTClient: rc, trans: c, idle: own.CloseIdleConnections}, nil
}

func newTransport(cfg *rest.Config) (http.RoundTripper, *http.Transport, error) {
	tc, err := cfg.TransportConfig()
	if err != nil {
		return nil, nil, err
	}
	tlsConfig, err := transport.TLSConfigFor(tc)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the certificates for the API server: %w", err)
	}
	dialer := net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: pingAfter, Interval: 5 * time.Second, Count: 2},
	}
	own := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: tlsConfig,
		TLSHandshakeTimeout: 5 * time.Second, MaxIdleConns: 2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	if cfg.Proxy != nil {
		own.Proxy = cfg.Proxy
	}
	rt, err := transport.HTTPWrappersForConfig(tc, own)
	return rt, own, err
}

// capped bounds answers that client-go reads as a whole. client-go itself bounds the events
// of a watch.
type capped struct {
	http.RoundTripper

	lastErr error // of the last request; there is one at a time
}

func (c *capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if c.lastErr = err; err == nil && (resp.StatusCode != http.StatusOK || !req.URL.Query().Has("watch")) {
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxList}
	}
	return resp, err
}

type cappedBody struct {
	io.ReadCloser

	left int
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the API server's answer is longer than %d bytes", maxList)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// clientName returns the DNS name of the headless Service. The domain of the cluster is in a
// pod's search list as svc.DOMAIN. If it is not there, the resolver must complete the name.
func (s *Source) clientName(namespace string) string {
	name := s.opts.Service + "." + namespace + ".svc"
	data, _ := os.ReadFile(s.env.resolvConf)
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "search" {
			continue
		}
		for _, f := range fields[1:] {
			if domain, ok := strings.CutPrefix(f, "svc."); ok {
				return name + "." + strings.TrimSuffix(domain, ".") + "."
			}
		}
	}
	return name
}
