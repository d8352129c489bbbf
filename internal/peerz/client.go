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
	// maxAnswer bounds an answer without keys; it is some 200 bytes, and may grow.
	maxAnswer = 64 << 10
	// maxPerKey bounds what each key adds: itself, twice, a number, quotes and commas.
	maxPerKey = 2*MaxKeyLen + 32
	// maxReason bounds what is shown of why a peer refuses.
	maxReason = 160
	// maxIdle bounds connections that are kept between rounds, idleTimeout for how
	// long: a handful of peers that are asked each round keep theirs, chance
	// acquaintances do not.
	maxIdle     = 32
	idleTimeout = 30 * time.Second
)

// Client asks peers. The zero value works; it is safe for concurrent use, and its
// fields must not change after the first question.
type Client struct {
	// Timeout bounds one request: dialling, waiting and reading. Zero or less:
	// [DefaultTimeout].
	Timeout time.Duration
	// TLS, if not nil, is called for each question and returns what to ask over HTTPS
	// with. Another pointer than last time means other certificates: connections made
	// with the old ones are not used again. Nil, and what it returns nil: plain HTTP.
	TLS func() *tls.Config

	// Dial, if not nil, makes the connections, as that of [net.Dialer] does, within ctx,
	// which ends after Timeout. Nil: plain TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu      sync.Mutex
	http    *http.Client
	retired *http.Client // the one before, which may still have been answering
	config  *tls.Config  // of http
}

// Ask asks the pod at addr (host:port of its health endpoint); keys, already
// hashed, may be empty. More than [MaxKeys] of them take several requests, one
// after the other, each with its own Timeout, all bounded by ctx; the totals are
// those of the last answer then. All errors are of type [*Error].
func (c *Client) Ask(ctx context.Context, addr string, keys []string) (Report, error) {
	rep, err := c.askAll(ctx, addr, keys)
	if err != nil {
		return Report{}, &Error{Class: ClassOf(err), Addr: addr, Err: err}
	}
	return rep, nil
}

// Close drops idle connections. The Client can be used again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range []*http.Client{c.http, c.retired} {
		if h != nil {
			h.CloseIdleConnections()
		}
	}
}

// askAll asks in parts of MaxKeys, at least one.
func (c *Client) askAll(ctx context.Context, addr string, keys []string) (Report, error) {
	if err := checkQuestion(addr, keys); err != nil {
		return Report{}, err
	}
	var last Report
	var sticky []string
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
		sticky = append(sticky, rep.SingleHomed...)
		last = rep
		if len(rest) == 0 {
			last.Keys, last.SingleHomed = counts, sticky
			return last, nil
		}
	}
}

func checkQuestion(addr string, keys []string) error {
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

// ask is one request.
func (c *Client) ask(ctx context.Context, addr string, keys []string) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	client, scheme := c.client()
	resp, err := client.Do(request(ctx, scheme, addr, keys))
	if err != nil {
		// Go's text begins with the URL, and that may hold 512 keys.
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err
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
		return Report{}, fmt.Errorf("answer breaks off: %w", err)
	}
	if int64(len(body)) > limit {
		return Report{}, &Error{Class: Size, Err: fmt.Errorf("answer of more than %d bytes", limit)}
	}
	return decode(body, keys)
}

// request is made by hand, since an address with a zone does not survive being
// made a URL and parsed again. It has no header that is not needed: every pod asks
// many others each second.
func request(ctx context.Context, scheme, addr string, keys []string) *http.Request {
	u := &url.URL{Scheme: scheme, Host: addr, Path: Path}
	if len(keys) > 0 {
		u.RawQuery = "keys=" + strings.Join(keys, ",") // hex needs no escaping
	}
	// With DisableCompression, Go would leave it to the peer to compress.
	header := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {""}}
	return (&http.Request{Method: http.MethodGet, URL: u, Host: addr, Header: header}).WithContext(ctx)
}

// checkHeader refuses an answer before it is read.
func checkHeader(resp *http.Response) error {
	if resp.StatusCode == http.StatusForbidden && resp.Request.URL.Scheme == "https" {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // what there is of it
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

// client returns the HTTP client for the certificates of now, and the scheme.
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

// newClient makes one that is ours alone: no proxy from the environment stands
// between pods, no cookie, no redirect.
func (c *Client) newClient(config *tls.Config) *http.Client {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	// net/http dials on when the request has given up, within a context without an end.
	bounded := func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.timeout())
		defer cancel()
		return dial(ctx, network, addr)
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
