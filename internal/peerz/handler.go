package peerz

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxQuery is the length of the longest query: MaxKeys keys with escaped commas, and as much
// again for parameters of newer pods.
const maxQuery = 2 * MaxKeys * (MaxKeyLen + 3)

// Handler answers GET and HEAD of /peerz with the result of report for the keys of
// "?keys=h1,h2". These are hashed keys, at most [MaxKeys] of at most [MaxKeyLen] characters;
// report gets them without duplicates. Handler ignores other parameters, which newer pods
// may send. It answers 405 to other methods and 400, with the reason, to invalid keys.
//
// The answer leaves out keys that were not requested, a zone or revision that is no name, and
// loads and shares that are not numbers in range: peers would reject the whole report for one
// bad function or variable of the user's. Draining
// is at most Connections, since a pod may count them one after the other.
func Handler(report func(keys []string) Report) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		keys, err := parseKeys(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, r.Method, report(keys), keys)
	})
}

func answer(w http.ResponseWriter, method string, rep Report, keys []string) {
	requested := setOf(keys)
	rep.Keys = maps.Clone(rep.Keys)
	maps.DeleteFunc(rep.Keys, func(key string, _ int) bool { return !requested[key] })
	rep.SingleHomed = slices.DeleteFunc(slices.Clone(rep.SingleHomed), func(key string) bool { return !requested[key] })
	rep.Loads, rep.InFlight = validLoads(rep.Loads), validLoads(rep.InFlight)
	roundParts(&rep)
	rep.Draining = min(rep.Draining, rep.Connections)
	rep.clean() // of Place
	rep.Judgment = rep.clipped()
	body, err := json.Marshal(rep)
	if err != nil { // no field of a Report can fail
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

// validLoads returns the loads that a peer would accept, rounded.
func validLoads(loads map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(loads))
	for name, load := range loads {
		if validLoad(load) {
			out[name] = roundedLoad(load)
		}
	}
	return out
}

// roundedLoad returns x with six digits, of which three at most follow the point. A whole
// number keeps all of its digits. More would cost bytes on the wire, and no decision needs
// them.
func roundedLoad(x float64) float64 {
	unit := 1000.0
	for unit > 1 && x*unit >= 1e6 {
		unit /= 10
	}
	return math.Round(x*unit) / unit
}

// thousandth is the precision of what travels.
const thousandth = 0.001

// Rounded returns x with the precision of what travels.
func Rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

// roundParts rounds what makes the share, and leaves out what is not in range. A small number
// must not become 0, which stands for 1.
func roundParts(r *Report) {
	for _, part := range partsOf(r) {
		if x := *part.value; x > 0 && x <= part.max {
			*part.value = max(Rounded(x), part.min)
		} else {
			*part.value = 0
		}
	}
}

func parseKeys(query string) ([]string, error) {
	if len(query) > maxQuery {
		return nil, fmt.Errorf("the query has %d characters, more than %d", len(query), maxQuery)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w", err)
	}
	var keys []string
	seen := make(map[string]bool)
	for _, list := range values["keys"] {
		if list == "" {
			continue
		}
		// One key more than allowed is enough to refuse the request.
		for _, key := range strings.SplitN(list, ",", MaxKeys+1) {
			switch {
			case len(keys) == MaxKeys && !seen[key]:
				return nil, fmt.Errorf("more than %d keys", MaxKeys)
			case !validKey(key):
				return nil, fmt.Errorf("key %.80q: %w", key, errKey)
			case !seen[key]:
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys, nil
}
