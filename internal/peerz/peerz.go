package peerz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode"
)

const (
	// Path is the path of the endpoint.
	Path = "/peerz"
	// MaxKeys is the largest number of keys in one request.
	MaxKeys = 512
	// MaxKeyLen is the largest number of characters in a hashed key.
	MaxKeyLen = 64

	// hashLen is the number of bytes of the hash that name a key. No two of a million keys
	// collide by chance, and a client that chooses its own key (by a header) cannot find
	// two that collide.
	hashLen = 12

	maxPodLen      = 253 // the limit of RFC 1123 and of Kubernetes
	maxConnections = 10_000_000
	maxStreams     = 1_000_000_000
	maxLoad        = 1e15
	maxLoads       = 8 // twice the number of today, for newer versions
	maxLoadName    = 40
	maxUptime      = 10 * 365 * 24 * time.Hour

	maxCores = 100_000 // many times the largest machine of today
	// MinShare is the least Report.Share. A pod without a share of its own counts as 1, and no
	// pod is a hundred times another, or a hundredth of it: such a share is in another unit,
	// and would draw the load of the whole fleet.
	MinShare = 0.01
	// MaxShare is the largest Report.Share.
	MaxShare = 100
)

// Report is the answer of one pod.
type Report struct {
	// Pod is the pod's name.
	Pod string `json:"pod"`
	// Ready is false once the pod is stopping.
	Ready bool `json:"ready"`
	// UptimeMillis is the time since the pod began to serve, in milliseconds. It is an age,
	// so clocks need not agree.
	UptimeMillis int64 `json:"uptimeMillis"`
	// Generation rises with every growth of the membership that the pod has seen.
	Generation uint64 `json:"generation,omitempty"`
	// Connections is the number of live connections, including those that drain.
	Connections int `json:"connections"`
	// Draining is the number of connections that drain.
	Draining int `json:"draining,omitempty"`
	// Streams is the number of streams in flight.
	Streams int `json:"streams,omitempty"`
	// Loads are the pod's loads, by the weights that it measures ("connections",
	// "requests", "streams", "custom"). Each is a sum from 0 to 1e15 over the connections
	// that do not drain. There are at most 8, with names of at most 40 characters. Without
	// "connections", this load is Connections less Draining. An older version of evenkeel sends
	// none, a newer one may send others.
	Loads map[string]float64 `json:"loads,omitempty"`
	// Reaching reports whether the pod makes new pods known to multi-homed clients, and
	// has not yet seen where these went.
	Reaching bool `json:"reaching,omitempty"`
	// Overloaded reports whether the pod sheds connections, or would if it could.
	Overloaded bool `json:"overloaded,omitempty"`
	// InFlight is what the drained connections whose streams go on still carry, by the weight
	// in force. It has the bounds of Loads. An older version of evenkeel sends none.
	InFlight map[string]float64 `json:"inFlight,omitempty"`
	// Cores is the CPU limit of the pod, in cores, above 0 and up to 100,000; 0 if it is not
	// known. Whether it counts, the reports of all pods decide.
	Cores float64 `json:"cores,omitempty"`
	// Share is how much load the pod should carry, in proportion to the other pods, as the
	// program says: from MinShare to MaxShare. 0 if the program does not say, which counts as 1.
	Share float64 `json:"share,omitempty"`
	// Warm is the part of its share that the pod takes while it warms up; 0 stands for 1.
	Warm float64 `json:"warm,omitempty"`
	// Relief is the part of its share that the pod claims while it is overloaded; 0 stands for 1.
	Relief float64 `json:"relief,omitempty"`
	// Paused reports whether the pod moves nothing because earlier rounds changed nothing.
	Paused bool `json:"paused,omitempty"`
	// Place is where the pod stands in the membership.
	Place
	// Judgment is what the pod says of the balance, for people.
	Judgment
	// Keys has the number of connections that do not drain, for each hashed key of ?keys=.
	// A key that is absent has none.
	Keys map[string]int `json:"keys,omitempty"`
	// SingleHomed are the requested keys whose clients this pod has recently found to be
	// single-homed. An older version of evenkeel sends none.
	SingleHomed []string `json:"sticky,omitempty"`
}

// Uptime returns UptimeMillis as a duration.
func (r Report) Uptime() time.Duration { return time.Duration(r.UptimeMillis) * time.Millisecond }

// CheckPod returns an error of class [WrongPod] unless pod itself has answered. Addresses
// are reused, so another pod may have the address now. An empty pod stands for any.
func (r Report) CheckPod(pod string) error {
	if pod == "" || pod == r.Pod {
		return nil
	}
	return &Error{Class: WrongPod, Err: fmt.Errorf("this address should be pod %q, but pod %q has answered", pod, r.Pod)}
}

// HashKey returns the name of a key between pods, so that the addresses of clients do not
// travel: the first 12 bytes of the SHA-256 of key, in hex. It is the same in every process
// on every machine. It hides nothing from someone who tries all addresses; see [Hasher].
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:hashLen])
}

// Hasher hashes keys with a salt that the whole fleet shares, so that nobody else can find
// keys by trial. Pods with different salts do not recognize each other's keys. The zero
// value hashes like [HashKey]. It is safe for concurrent use.
type Hasher struct {
	salt  []byte
	check string // its fingerprint; empty for the zero value
}

// NewHasher returns a Hasher with salt. If salt is empty, it hashes like [HashKey].
func NewHasher(salt string) Hasher {
	h := Hasher{salt: []byte(salt)}
	h.check = h.SaltCheck()
	return h
}

// Hash returns the name of key between pods: the first 12 bytes of HMAC-SHA256 (RFC 2104)
// with the salt, in hex.
func (h Hasher) Hash(key string) string {
	if len(h.salt) == 0 {
		return HashKey(key)
	}
	mac := hmac.New(sha256.New, h.salt)
	mac.Write([]byte(key))
	return hex.EncodeToString(mac.Sum(nil)[:hashLen])
}

// validKey reports whether key can be a hashed key.
func validKey(key string) bool {
	if key == "" || len(key) > MaxKeyLen {
		return false
	}
	for i := range len(key) {
		if c := key[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// wire is a Report as it is decoded. Required fields are pointers: JSON of another program
// must not pass for a pod without connections.
type wire struct {
	Pod          *string        `json:"pod"`
	Ready        *bool          `json:"ready"`
	UptimeMillis *int64         `json:"uptimeMillis"`
	Generation   uint64         `json:"generation"`
	Connections  *int           `json:"connections"`
	Draining     int            `json:"draining"`
	Streams      int            `json:"streams"`
	Keys         map[string]int `json:"keys"`
	SingleHomed  []string       `json:"sticky"`

	Loads      map[string]float64 `json:"loads"`
	Reaching   bool               `json:"reaching"`
	Overloaded bool               `json:"overloaded"`
	InFlight   map[string]float64 `json:"inFlight"`
	Cores      float64            `json:"cores"`
	Share      float64            `json:"share"`
	Warm       float64            `json:"warm"`
	Relief     float64            `json:"relief"`
	Paused     bool               `json:"paused"`
	Place
	Judgment
}

// decode parses an answer to a request for keys.
func decode(body []byte, keys []string) (Report, error) {
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return Report{}, &Error{Class: JSON, Err: err}
	}
	if w.Pod == nil || w.Ready == nil || w.UptimeMillis == nil || w.Connections == nil {
		return Report{}, nonsense("the report lacks pod, ready, uptimeMillis or connections")
	}
	r := Report{
		Pod: *w.Pod, Ready: *w.Ready, UptimeMillis: *w.UptimeMillis, Generation: w.Generation,
		Connections: *w.Connections, Draining: w.Draining, Streams: w.Streams, Keys: w.Keys, SingleHomed: w.SingleHomed,
		Loads: w.Loads, Reaching: w.Reaching, Overloaded: w.Overloaded, InFlight: w.InFlight,
		Cores: w.Cores, Share: w.Share, Warm: w.Warm, Relief: w.Relief, Paused: w.Paused,
		Place: w.Place, Judgment: w.clipped(),
	}
	if err := r.check(keys); err != nil {
		return Report{}, err
	}
	return r, nil
}

// check rejects a report that no pod would send.
func (r Report) check(keys []string) error {
	switch {
	case !validPod(r.Pod):
		return nonsense("pod %.40q is not a name of 1 to %d printable characters", r.Pod, maxPodLen)
	case r.UptimeMillis < 0 || r.UptimeMillis > maxUptime.Milliseconds():
		return nonsense("the report has an uptime of %d ms", r.UptimeMillis)
	case r.Connections < 0 || r.Connections > maxConnections:
		return nonsense("the report has %d connections", r.Connections)
	case r.Draining < 0 || r.Draining > r.Connections:
		return nonsense("the report has %d of %d connections draining", r.Draining, r.Connections)
	case r.Streams < 0 || r.Streams > maxStreams:
		return nonsense("the report has %d streams", r.Streams)
	}
	for _, loads := range []map[string]float64{r.Loads, r.InFlight} {
		if err := checkLoads(loads); err != nil {
			return err
		}
	}
	if err := r.checkShare(); err != nil {
		return err
	}
	if err := r.Place.check(); err != nil {
		return err
	}
	return r.checkKeys(keys)
}

// checkLoads accepts unknown names, since a newer pod may measure more.
func checkLoads(loads map[string]float64) error {
	if len(loads) > maxLoads {
		return nonsense("the report has %d loads, more than %d", len(loads), maxLoads)
	}
	for name, load := range loads {
		if len(name) > maxLoadName || !validLoad(load) {
			return nonsense("the report has a load %.40q of %v", name, load)
		}
	}
	return nil
}

// checkShare accepts 0 for each: that is what a report without the field has.
func (r Report) checkShare() error {
	for _, part := range partsOf(&r) {
		if x := *part.value; x != 0 && !(x >= part.min && x <= part.max) {
			return nonsense("the report has a %s of %v", part.name, x)
		}
	}
	return nil
}

// part is one of the numbers that make a pod's share.
type part struct {
	name     string
	value    *float64
	min, max float64
}

func partsOf(r *Report) [4]part {
	return [4]part{
		{"number of cores", &r.Cores, thousandth, maxCores},
		{"share", &r.Share, MinShare, MaxShare},
		{"warm-up", &r.Warm, thousandth, 1},
		{"relief", &r.Relief, thousandth, 1},
	}
}

// ValidShare reports whether a pod may have that share. It is false for NaN.
func ValidShare(share float64) bool { return share >= MinShare && share <= MaxShare }

// validLoad reports whether load is in range. NaN fails the test for inside, but not one for
// outside.
func validLoad(load float64) bool { return load >= 0 && load <= maxLoad }

// checkKeys does not compare the counts with Connections: a pod counts them a moment later.
func (r Report) checkKeys(keys []string) error {
	requested := setOf(keys)
	for key, n := range r.Keys {
		if !requested[key] {
			return nonsense("the report has key %.40q, which was not requested", key)
		}
		if n < 0 || n > maxConnections {
			return nonsense("the report has %d connections of key %s", n, key)
		}
	}
	if len(r.SingleHomed) > len(requested) {
		return nonsense("the report has %d single-homed keys, of %d requested", len(r.SingleHomed), len(requested))
	}
	for _, key := range r.SingleHomed {
		if !requested[key] {
			return nonsense("the report has the single-homed key %.40q, which was not requested", key)
		}
	}
	return nil
}

func validPod(name string) bool {
	if name == "" || len(name) > maxPodLen {
		return false
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func setOf(keys []string) map[string]bool {
	set := make(map[string]bool, len(keys))
	for _, key := range keys {
		set[key] = true
	}
	return set
}

func nonsense(format string, args ...any) error {
	return &Error{Class: Nonsense, Err: fmt.Errorf(format, args...)}
}

var errKey = errors.New("a hashed key has 1 to 64 of the characters 0-9 and a-f")
