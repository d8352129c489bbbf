package peerz

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultTimeout bounds one request.
	DefaultTimeout = time.Second
	// maxAnswer bounds an answer without keys. It has some 200 bytes today, and may grow.
	maxAnswer = 64 << 10
	// maxPerKey bounds the bytes that each key adds: the key, twice, a number, quotes and
	// commas.
	maxPerKey = 2*MaxKeyLen + 32
	// maxReason bounds the part of a refusal that an error quotes.
	maxReason = 160
	// maxIdle and idleTimeout bound the connections that are kept between rounds. They are
	// enough for the handful of peers that are polled each second. Connections to other peers
	// are not worth keeping.
	maxIdle     = 32
	idleTimeout = 30 * time.Second
)

// Client polls and queries peers. The zero value works. It is safe for concurrent use, and
// its fields must not change after the first request.
type Client struct {
	// Timeout bounds one request: dialing, waiting and reading. Zero or less:
	// [DefaultTimeout].
	Timeout time.Duration
	// TLS, if not nil, is called for each request and returns the configuration for HTTPS.
	// A pointer that differs from the last one stands for other certificates: connections
	// made with the old ones are not used again. If TLS is nil or returns nil, requests use
	// plain HTTP.
	TLS func() *tls.Config

	// Start, if not nil, is called for each request. If it returns true, the request announces
	// that this pod is starting.
	Start func() (Start, bool)

	// Dial, if not nil, makes the connections, like the method of [net.Dialer]. Its ctx
	// ends after Timeout. Nil: plain TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu      sync.Mutex
	http    *http.Client
	retired *http.Client // the one before, which may still have requests in flight
	config  *tls.Config  // of http
}

// Ask requests the report of the pod at addr (host:port of its health endpoint). keys are
// hashed keys, and may be empty. More than [MaxKeys] of them take several requests, one
// after the other, each with its own Timeout and all bounded by ctx. The totals are then
// those of the last answer. All errors are of type [*Error].
func (c *Client) Ask(ctx context.Context, addr string, keys []string) (Report, error) {
	rep, err := c.askAll(ctx, addr, keys)
	if err != nil {
		return Report{}, &Error{Class: ClassOf(err), Addr: addr, Err: err}
	}
	return rep, nil
}

// Close closes idle connections. The Client can be used again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range []*http.Client{c.http, c.retired} {
		if h != nil {
			h.CloseIdleConnections()
		}
	}
}

// askAll makes a request for every MaxKeys keys, and at least one.
func (c *Client) askAll(ctx context.Context, addr string, keys []string) (Report, error) {
	if err := checkRequest(addr, keys); err != nil {
		return Report{}, err
	}
	var last Report
	var singleHomed []string
	counts := make(map[string]int)
	for rest := keys; ; {
		part := rest[:min(MaxKeys, len(rest))]
		rest = rest[len(part):]
		rep, err := c.ask(ctx, addr, part)
		if err != nil {
			return Report{}, err
		}
		if err := rep.CheckPod(last.Pod); err != nil {
			return Report{}, err
		}
		maps.Copy(counts, rep.Keys)
		singleHomed = append(singleHomed, rep.SingleHomed...)
		last = rep
		if len(rest) == 0 {
			last.Keys, last.SingleHomed = counts, singleHomed
			return last, nil
		}
	}
}

func checkRequest(addr string, keys []string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil || strings.ContainsAny(addr, "/?#@\\ ") {
		return errors.New("not of the form host:port")
	}
	for _, key := range keys {
		if !validKey(key) {
			return fmt.Errorf("key %.80q: %w", key, errKey)
		}
	}
	return nil
}

// ask makes one request.
func (c *Client) ask(ctx context.Context, addr string, keys []string) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	client, scheme := c.client()
	req := request(ctx, scheme, addr, keys)
	if c.Start != nil {
		if s, ok := c.Start(); ok {
			req.Header.Set(startHeader, s.header())
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		// Go's message begins with the URL, which may hold 512 keys.
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		switch {
		case errors.Is(err, errHTTP2):
			err = errHTTP2 // without net/http's words around it
		case errors.Is(err, io.EOF):
			err = errNoAnswer
		}
		return Report{}, err
	}
	defer resp.Body.Close()
	if err := checkHeader(resp); err != nil {
		return Report{}, err
	}
	limit := int64(maxAnswer + maxPerKey*len(keys))
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return Report{}, fmt.Errorf("the answer is cut off: %w", err)
	}
	if int64(len(body)) > limit {
		return Report{}, &Error{Class: Size, Err: fmt.Errorf("the answer has more than %d bytes", limit)}
	}
	return decode(body, keys)
}

// request builds a request by hand, since parsing a URL would fail for an address with a
// zone. It has no needless header: every pod sends requests to many others each second.
func request(ctx context.Context, scheme, addr string, keys []string) *http.Request {
	u := &url.URL{Scheme: scheme, Host: addr, Path: Path}
	if len(keys) > 0 {
		u.RawQuery = "keys=" + strings.Join(keys, ",") // hex needs no escaping
	}
	// With DisableCompression alone, the peer would be free to compress.
	header := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {""}}
	return (&http.Request{Method: http.MethodGet, URL: u, Host: addr, Header: header}).WithContext(ctx)
}

// checkHeader rejects a bad answer before its body is read.
func checkHeader(resp *http.Response) error {
	if resp.StatusCode == http.StatusForbidden && resp.Request.URL.Scheme == "https" {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // as much as arrives
		return &Error{Class: TLS, Err: fmt.Errorf("status 403: %q", text)}
	}
	if resp.StatusCode != http.StatusOK {
		return &Error{Class: Status, Err: fmt.Errorf("status %d", resp.StatusCode)}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return &Error{Class: JSON, Err: fmt.Errorf("encoded as %.40q", enc)}
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Error{Class: JSON, Err: fmt.Errorf("content type %.40q", resp.Header.Get("Content-Type"))}
	}
	return nil
}

func (c *Client) timeout() time.Duration { return cmp.Or(max(c.Timeout, 0), DefaultTimeout) }

// client returns the HTTP client for the current certificates, and the scheme.
func (c *Client) client() (*http.Client, string) {
	var config *tls.Config
	if c.TLS != nil {
		config = c.TLS()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http == nil || c.config != config {
		if c.http != nil {
			c.http.CloseIdleConnections()
		}
		c.http, c.retired, c.config = c.newClient(config), c.http, config
	}
	if config == nil {
		return c.http, "http"
	}
	return c.http, "https"
}

// newClient returns an HTTP client without a proxy from the environment, cookies or
// redirects.
func (c *Client) newClient(config *tls.Config) *http.Client {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	// net/http goes on dialing after the request was given up, in a context that never ends.
	bounded := func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.timeout())
		defer cancel()
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &sniffed{Conn: nc}, nil
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            bounded,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    c.timeout(),
			DisableCompression:     true,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    1,
			MaxConnsPerHost:        2,
			IdleConnTimeout:        idleTimeout,
			ResponseHeaderTimeout:  c.timeout(),
			MaxResponseHeaderBytes: 16 << 10,
		},
	}
}
