package peerz

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// maxQuery is the longest query that can hold MaxKeys keys, commas escaped, with
// as much again for what newer pods may ask.
const maxQuery = 2 * MaxKeys * (MaxKeyLen + 3)

// Handler answers GET /peerz with what report returns for the keys of
// "?keys=h1,h2": hashed keys, at most [MaxKeys] of at most [MaxKeyLen]
// characters, without duplicates. Parameters that it does not know are left to
// newer pods. It changes nothing, and answers 405 to any other method and 400,
// with the reason, to keys that cannot be.
//
// Keys in the report that were not asked for are left out, and a report's
// Draining is bounded by its Connections, since a pod may count them one after the
// other.
func Handler(report func(keys []string) Report) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet {
			h.Set("Allow", http.MethodGet)
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		keys, err := parseKeys(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, report(keys), keys)
	})
}

func answer(w http.ResponseWriter, rep Report, keys []string) {
	asked := setOf(keys)
	rep.Keys = maps.Clone(rep.Keys)
	maps.DeleteFunc(rep.Keys, func(key string, _ int) bool { return !asked[key] })
	rep.Draining = min(rep.Draining, rep.Connections)
	body, err := json.Marshal(rep)
	if err != nil { // no field of a Report can fail
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // whoever asked has gone
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
		// One more than there may be is enough to refuse the rest.
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
