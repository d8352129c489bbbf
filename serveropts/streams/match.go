package streams

import (
	"context"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
)

// Methods matches the methods of the given full names, such as "/hello.v1.HelloService/Watch".
// "/hello.v1.HelloService/*" is all methods of a service. Without a name it matches nothing.
// Other selections are made by selector.MatchFunc; note that the FullMethod of its argument
// allocates, whereas the fields Service and Method do not.
//
// [StreamServerInterceptor] returns an error for a name of another form. It does not know which
// methods a server has, so a misspelled one matches nothing.
func Methods(names ...string) selector.Matcher { return newMethods(names, true) }

// AllBut matches all methods but those of the given names, which are as for [Methods].
func AllBut(names ...string) selector.Matcher { return newMethods(names, false) }

// methods matches by name, without an allocation.
type methods struct {
	listed map[method]struct{}
	want   bool   // what listed ones match
	wrong  string // the first name that is none
}

type method struct{ service, name string }

// everyMethod is the name that stands for all methods of a service.
const everyMethod = "*"

func newMethods(names []string, want bool) *methods {
	m := &methods{listed: make(map[method]struct{}, len(names)), want: want}
	for _, full := range names {
		service, name, ok := strings.Cut(strings.TrimPrefix(full, "/"), "/")
		if !ok || !strings.HasPrefix(full, "/") || service == "" || name == "" || strings.Contains(name, "/") {
			if m.wrong == "" {
				m.wrong = full
			}
			continue
		}
		m.listed[method{service, name}] = struct{}{}
	}
	return m
}

// Match implements selector.Matcher.
func (m *methods) Match(_ context.Context, call interceptors.CallMeta) bool {
	_, listed := m.listed[method{call.Service, call.Method}]
	if !listed {
		_, listed = m.listed[method{call.Service, everyMethod}]
	}
	return listed == m.want
}

// rule is one option with its matcher.
type rule struct {
	match selector.Matcher // nil: every stream
	d     time.Duration
}

// firstOf returns the duration of the first rule that matches.
func firstOf(ctx context.Context, call interceptors.CallMeta, rules []rule) (d time.Duration, ok bool) {
	for i := range rules {
		if r := &rules[i]; r.match == nil || r.match.Match(ctx, call) {
			return r.d, true
		}
	}
	return 0, false
}
