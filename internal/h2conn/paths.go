package h2conn

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxBlock bounds the header block of a request whose path is read. Health checks
// are far shorter.
const maxBlock = 16 << 10

// maxTable bounds the HPACK table, which grpc.HeaderTableSize may enlarge. It fills only as
// long as all requests are health checks.
const maxTable = 64 << 10

// paths reads the :path of requests. HPACK has a state, so it decodes every header
// block of a connection, up to the first request that is no health check. Most
// connections begin with that one.
type paths struct {
	dec   *hpack.Decoder
	block []byte // what has arrived of the header block
	path  string // of the latest header block; empty if it has none, as trailers
	read  bool   // the latest header block is complete
	bad   bool   // a header block is too long or invalid; no further one can be decoded
}

// noPaths means that no path is of interest any more.
var noPaths = &paths{}

func newPaths() *paths {
	p := &paths{}
	p.dec = hpack.NewDecoder(4096, func(h hpack.HeaderField) {
		if h.Name == ":path" && p.path == "" {
			p.path = h.Value
		}
	})
	p.dec.SetAllowedMaxDynamicTableSize(maxTable)
	return p
}

// readPath takes a part of a HEADERS or CONTINUATION frame. It may be the last one.
func (f *inbound) readPath(payload []byte) {
	if f.paths == nil {
		f.paths = newPaths()
	}
	p := f.paths
	if p.bad {
		return
	}
	p.block = append(p.block, payload...)
	p.bad = len(p.block) > maxBlock || f.remaining == 0 && !p.endFrame(&f.cursor)
}

// endFrame ends a frame. It reports false if the header block cannot be decoded.
func (p *paths) endFrame(f *cursor) (ok bool) {
	if f.typ == http2.FrameHeaders && !p.unpad(f.flags) {
		return false
	}
	if !f.flags.Has(http2.FlagHeadersEndHeaders) {
		return true
	}
	p.path = ""
	if _, err := p.dec.Write(p.block); err != nil || p.dec.Close() != nil {
		return false
	}
	p.block, p.read = nil, true
	return true
}

// unpad removes what surrounds the fragment in the payload of a HEADERS frame, which
// begins a block (RFC 9113, section 6.2). It reports whether the payload is long enough.
func (p *paths) unpad(flags http2.Flags) bool {
	fragment, padding := p.block, 0
	if flags.Has(http2.FlagHeadersPadded) {
		if len(fragment) == 0 {
			return false
		}
		padding, fragment = int(fragment[0]), fragment[1:]
	}
	if flags.Has(http2.FlagHeadersPriority) {
		if len(fragment) < 5 {
			return false
		}
		fragment = fragment[5:]
	}
	if padding > len(fragment) {
		return false
	}
	p.block = fragment[:len(fragment)-padding]
	return true
}

// useLocked notes what the client's latest frame was for. Only the reader calls it.
func (c *Conn) useLocked() {
	use := max(c.use, Ready)
	if p := c.in.paths; p != nil && p != noPaths {
		use = c.useAfter(p, use)
	}
	if use == InUse {
		c.in.paths = noPaths
	}
	if use != c.use {
		c.use = use
		c.news.Store(true)
	}
}

// useAfter returns the use after the latest header block. If its path cannot be read, it
// is taken for that of an ordinary request.
func (c *Conn) useAfter(p *paths, use Use) Use {
	read := p.read
	p.read = false
	switch {
	case p.bad:
		return InUse
	case !read || p.path == "":
		return use
	case c.cfg.UseOf != nil:
		return max(use, c.cfg.UseOf(p.path))
	}
	return InUse
}
