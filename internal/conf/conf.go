// Package conf fills a struct from layers: defaults, a YAML file, the environment and -set
// flags. Each layer overrides the one before.
//
// The struct is its own schema. Its json tags name the keys, nested structs join them with
// dots ("peers.dns.interval"), and its initial values are the defaults.
//
// No mistake is ignored, and none ends the load: all mistakes in all layers come back as
// one joined error. Fixing one to see the next would cost a rollout each time.
package conf

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxErrors bounds the errors of one load. A file of garbage has a mistake on each line,
// and nobody reads beyond the first few.
const maxErrors = 50

// Error is one mistake in one key.
type Error struct {
	// Key is the dotted path of the key. If there is no such key, it is what the user
	// wrote. Empty: the layer as a whole is wrong.
	Key string
	// Where is the place of the mistake: "config.yaml:7", "environment NAME", "-set".
	// Empty: not known.
	Where string
	// Text explains the mistake and, where possible, what to write instead.
	Text string
	// Unknown reports whether there is no such key, and nothing else is wrong.
	Unknown bool
}

// Error begins with the key, so that a reader can scan a list of errors by key.
func (e *Error) Error() string {
	switch {
	case e.Key == "" && e.Where == "":
		return e.Text
	case e.Key == "":
		return e.Where + ": " + e.Text
	case e.Where == "":
		return e.Key + ": " + e.Text
	}
	return e.Key + ": " + e.Text + " (" + e.Where + ")"
}

// Tree is a view of a struct by dotted keys. It is not safe for concurrent use.
type Tree struct {
	leaves map[string]reflect.Value
	groups map[string]bool
	order  []string // of the leaves, as in the struct
	origin map[string]string
	guards []string // see Guard

	errs    []*Error
	kept    map[bool]int // errors in errs, by Unknown
	dropped map[bool]int // and those beyond maxErrors
}

// New returns the tree of the struct that dst points to. The layers write directly into
// the struct. New panics if dst is anything else, or has a field of a kind without a text
// form: that is a mistake in the program, not in its input.
func New(dst any) *Tree {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("conf: %T is not a pointer to a struct", dst))
	}
	t := &Tree{
		leaves: map[string]reflect.Value{},
		groups: map[string]bool{},
		origin: map[string]string{},
		kept:   map[bool]int{}, dropped: map[bool]int{},
	}
	t.walk("", v.Elem())
	return t
}

func (t *Tree) walk(prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			panic(fmt.Sprintf("conf: field %s of %s has no json tag", f.Name, v.Type()))
		}
		key := join(prefix, name)
		if f.Type.Kind() == reflect.Struct {
			t.groups[key] = true
			t.walk(key, v.Field(i))
			continue
		}
		if kindOf(f.Type) == "" {
			panic(fmt.Sprintf("conf: %s is a %s, which has no text form", key, f.Type))
		}
		t.leaves[key] = v.Field(i)
		t.order = append(t.order, key)
	}
}

// Keys returns all keys in the order of the struct.
func (t *Tree) Keys() []string { return slices.Clone(t.order) }

// Get returns the value of a key, or nil if there is no such key.
func (t *Tree) Get(key string) any {
	if v, ok := t.leaves[key]; ok {
		return v.Interface()
	}
	return nil
}

// Origin returns where the value of a key was written, in the form of Error.Where. It is
// empty for a default.
func (t *Tree) Origin(key string) string { return t.origin[key] }

// Add adds an error of the caller's, such as a value out of range, to those of the layers.
// An empty where is replaced by the origin of the key.
func (t *Tree) Add(key, where, text string) { t.add(&Error{Key: key, Where: where, Text: text}) }

// addUnknown adds a key that does not exist. path is the key as YAML has it, and suggest finds the
// one that may be meant.
func (t *Tree) addUnknown(what, key, path, where string, suggest func() string) {
	e := &Error{Key: key, Where: where, Unknown: true}
	if t.kept[true] < maxErrors { // otherwise it is only counted
		guarded := t.guarded(path)
		e.Text = unknown(what, cmp.Or(suggest(), guarded))
		if guarded != "" {
			e.Text, e.Unknown = e.Text+" It is for protection, so this is an error", false
		}
	}
	t.add(e)
}

func (t *Tree) add(e *Error) {
	if t.kept[e.Unknown] >= maxErrors {
		t.dropped[e.Unknown]++
		return
	}
	t.kept[e.Unknown]++
	if e.Where == "" {
		e.Where = t.origin[e.Key]
	}
	e.Key = printable(e.Key)
	t.errs = append(t.errs, e)
}

// Err returns all errors so far, joined, each of them an *Error. It returns nil if there
// are none.
func (t *Tree) Err() error { return t.joined(false, true) }

// Wrong returns the errors of Err without the keys that do not exist.
func (t *Tree) Wrong() error { return t.joined(false) }

// Unknown returns the keys that do not exist.
func (t *Tree) Unknown() error { return t.joined(true) }

// joined returns the errors of these kinds.
func (t *Tree) joined(kinds ...bool) error {
	var out []error
	for _, e := range t.errs {
		if slices.Contains(kinds, e.Unknown) {
			out = append(out, e)
		}
	}
	more := 0
	for _, kind := range kinds {
		more += t.dropped[kind]
	}
	if more > 0 {
		out = append(out, &Error{Text: fmt.Sprintf("and %d more", more), Unknown: kinds[0]})
	}
	return errors.Join(out...)
}

// setText sets a key from text, for layers without types.
func (t *Tree) setText(key, text, where string) {
	v, err := parse(t.leaves[key].Type(), text)
	if err != nil {
		t.Add(key, where, err.Error())
		return
	}
	t.set(key, v, where)
}

func (t *Tree) set(key string, v any, where string) {
	t.leaves[key].Set(reflect.ValueOf(v).Convert(t.leaves[key].Type()))
	t.origin[key] = where
}

// Errors returns every *Error within err, however it is joined or wrapped.
func Errors(err error) []*Error { return ErrorsOf[*Error](err) }

// ErrorsOf is Errors for errors of the type E. Unlike errors.As, it finds all of them.
func ErrorsOf[E error](err error) []E {
	if e, ok := err.(E); ok { //nolint:errorlint // it unwraps by itself, to find them all
		return []E{e}
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []E
		for _, one := range e.Unwrap() {
			all = append(all, ErrorsOf[E](one)...)
		}
		return all
	}
	return ErrorsOf[E](errors.Unwrap(err))
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

var durationType = reflect.TypeFor[time.Duration]()
