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
	// Path is where a pod answers.
	Path = "/peerz"
	// MaxKeys is the most keys of one request.
	MaxKeys = 512
	// MaxKeyLen is the most characters of a hashed key.
	MaxKeyLen = 64

	// hashLen bytes of the hash name a key: no two of a million keys meet by chance,
	// and nobody who may choose his own key (a header) finds two that do.
	hashLen = 12

	maxPodLen      = 253 // RFC 1123, and Kubernetes, end a name here
	maxConnections = 10_000_000
	maxStreams     = 1_000_000_000
	maxLoad        = 1e15
	maxLoads       = 8 // twice those there are, for newer versions
	maxLoadName    = 40
	maxUptime      = 10 * 365 * 24 * time.Hour
)

// Report is one pod's answer.
type Report struct {
	// Pod is the pod's name.
	Pod string `json:"pod"`
	// Ready is false once the pod is stopping.
	Ready bool `json:"ready"`
	// UptimeMillis is how long the pod has served, in milliseconds: an age, so that
	// no two clocks have to agree.
	UptimeMillis int64 `json:"uptimeMillis"`
	// Generation rises with every growth of the fleet that the pod has taken note of.
	Generation uint64 `json:"generation"`
	// Connections is the number of live connections, those leaving included.
	Connections int `json:"connections"`
	// Draining is the number of those that have been asked to leave.
	Draining int `json:"draining"`
	// Streams is the number of streams in flight.
	Streams int `json:"streams"`
	// Loads are the pod's loads by weight ("connections", "requests", "streams",
	// "custom"), those that it measures: sums over its connections that are not
	// leaving, from 0 to 1e15. An older version of evenkeel sends none, a newer one
	// may send others; 8 at most, of names of at most 40 characters.
	Loads map[string]float64 `json:"loads,omitempty"`
	// Reaching: it tells spread clients of new pods, and has not seen yet where they
	// went.
	Reaching bool `json:"reaching,omitempty"`
	// Overloaded: it sheds, or would if it could.
	Overloaded bool `json:"overloaded,omitempty"`
	// Keys answers ?keys=: connections not leaving for each hashed key asked for.
	// A key that is not there has none.
	Keys map[string]int `json:"keys,omitempty"`
	// SingleHomed are those of the keys asked for whose clients this pod has found, of late, to
	// be on one pod only. An older version of evenkeel sends none.
	SingleHomed []string `json:"sticky,omitempty"`
}

// Uptime returns UptimeMillis as a duration.
func (r Report) Uptime() time.Duration { return time.Duration(r.UptimeMillis) * time.Millisecond }

// CheckPod returns an error of class [WrongPod] unless pod itself has answered:
// addresses are used again, and the pod that has one now need not be the one it
// was known for. An empty pod is not known and always right.
func (r Report) CheckPod(pod string) error {
	if pod == "" || pod == r.Pod {
		return nil
	}
	return &Error{Class: WrongPod, Err: fmt.Errorf("asked %q, answered by %q", pod, r.Pod)}
}

// HashKey is how a key is named between pods: clients' addresses do not travel.
// It is the same in every process, on every machine: the first 12 bytes of the
// SHA-256 of key, in hex. That hides nothing from somebody who tries all
// addresses; see [Hasher].
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:hashLen])
}

// Hasher hashes keys with a salt that the whole fleet shares, so that nobody
// else can find out keys by trying. Pods with different salts find none of each
// other's keys. The zero value is [HashKey]. It is safe for concurrent use.
type Hasher struct{ salt []byte }

// NewHasher returns a Hasher with salt; none is [HashKey].
func NewHasher(salt string) Hasher { return Hasher{salt: []byte(salt)} }

// Hash returns the name of key between pods: of HMAC-SHA256 (RFC 2104) with the
// salt, the first 12 bytes in hex.
func (h Hasher) Hash(key string) string {
	if len(h.salt) == 0 {
		return HashKey(key)
	}
	mac := hmac.New(sha256.New, h.salt)
	mac.Write([]byte(key))
	return hex.EncodeToString(mac.Sum(nil)[:hashLen])
}

// validKey tells whether key can be a hashed key.
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

// wire is a Report as it is read. The fields that must be there are pointers:
// some other program's JSON must not pass for a pod without connections.
type wire struct {
	Pod          *string        `json:"pod"`
	Ready        *bool          `json:"ready"`
	UptimeMillis *int64         `json:"uptimeMillis"`
	Generation   uint64         `json:"generation"`
	Connections  *int           `json:"connections"`
	Draining     int            `json:"draining"`
	Streams      int            `json:"streams"`
	Keys         map[string]int `json:"keys"`
	Sticky       []string       `json:"sticky"`

	Loads      map[string]float64 `json:"loads"`
	Reaching   bool               `json:"reaching"`
	Overloaded bool               `json:"overloaded"`
}

// decode reads an answer to a question for keys.
func decode(body []byte, keys []string) (Report, error) {
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return Report{}, &Error{Class: JSON, Err: err}
	}
	if w.Pod == nil || w.Ready == nil || w.UptimeMillis == nil || w.Connections == nil {
		return Report{}, nonsense("without pod, ready, uptimeMillis or connections")
	}
	r := Report{
		Pod: *w.Pod, Ready: *w.Ready, UptimeMillis: *w.UptimeMillis, Generation: w.Generation,
		Connections: *w.Connections, Draining: w.Draining, Streams: w.Streams, Keys: w.Keys, SingleHomed: w.Sticky,
		Loads: w.Loads, Reaching: w.Reaching, Overloaded: w.Overloaded,
	}
	if err := r.check(keys); err != nil {
		return Report{}, err
	}
	return r, nil
}

// check refuses what no pod would say.
func (r Report) check(keys []string) error {
	switch {
	case !validPod(r.Pod):
		return nonsense("pod %.40q is not a name of 1 to %d printable characters", r.Pod, maxPodLen)
	case r.UptimeMillis < 0 || r.UptimeMillis > maxUptime.Milliseconds():
		return nonsense("an uptime of %d ms", r.UptimeMillis)
	case r.Connections < 0 || r.Connections > maxConnections:
		return nonsense("%d connections", r.Connections)
	case r.Draining < 0 || r.Draining > r.Connections:
		return nonsense("%d of %d connections draining", r.Draining, r.Connections)
	case r.Streams < 0 || r.Streams > maxStreams:
		return nonsense("%d streams", r.Streams)
	}
	if err := r.checkLoads(); err != nil {
		return err
	}
	return r.checkKeys(keys)
}

// checkLoads takes names that it does not know: a newer pod may measure more.
func (r Report) checkLoads() error {
	if len(r.Loads) > maxLoads {
		return nonsense("%d loads", len(r.Loads))
	}
	for name, load := range r.Loads {
		if len(name) > maxLoadName || !validLoad(load) {
			return nonsense("a load by %.40q of %v", name, load)
		}
	}
	return nil
}

// validLoad asks whether load is in range, not out of it: only so is NaN wrong.
func validLoad(load float64) bool { return load >= 0 && load <= maxLoad }

// checkKeys does not hold the counts against Connections: a pod counts them a
// moment later.
func (r Report) checkKeys(keys []string) error {
	asked := setOf(keys)
	for key, n := range r.Keys {
		if !asked[key] {
			return nonsense("key %.40q was not asked for", key)
		}
		if n < 0 || n > maxConnections {
			return nonsense("%d connections of key %s", n, key)
		}
	}
	if len(r.SingleHomed) > len(asked) {
		return nonsense("%d sticky keys, of %d asked for", len(r.SingleHomed), len(asked))
	}
	for _, key := range r.SingleHomed {
		if !asked[key] {
			return nonsense("sticky key %.40q was not asked for", key)
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
