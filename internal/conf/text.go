package conf

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The kinds of values, by the form in which a person writes them.
const (
	kindText     = "text"
	kindBool     = "bool"
	kindInt      = "int"
	kindFloat    = "float"
	kindDuration = "duration"
	kindList     = "list"
)

// kindOf returns the kind of a field's type, empty if there is none. Durations come first,
// since they are also of kind int64.
func kindOf(t reflect.Type) string {
	switch {
	case t == durationType:
		return kindDuration
	case t.Kind() == reflect.String:
		return kindText
	case t.Kind() == reflect.Bool:
		return kindBool
	case t.Kind() == reflect.Int:
		return kindInt
	case t.Kind() == reflect.Float64:
		return kindFloat
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return kindList
	}
	return ""
}

// parse converts text to a value for a field of type t. All layers use it, so a value means
// the same wherever it is written.
func parse(t reflect.Type, text string) (any, error) {
	if kindOf(t) == kindText {
		return text, nil
	}
	text = strings.TrimSpace(text)
	switch kindOf(t) {
	case kindBool:
		return parseBool(text)
	case kindInt:
		return parseInt(text)
	case kindFloat:
		return parseFloat(text)
	case kindDuration:
		return parseDuration(text)
	}
	return splitList(text), nil
}

// parseBool accepts two words only. "yes" and "on" are booleans in YAML 1.1 and strings in
// YAML 1.2, and a user should not have to know which version applies.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", quote(text))
}

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is out of range", quote(text))
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number", quote(text))
	}
	return n, nil
}

// parseFloat rejects NaN and the infinities: no later comparison with a limit would stop a
// NaN.
func parseFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%s is not a number", quote(text))
	}
	return f, nil
}

// parseDuration is time.ParseDuration with a message that explains what to write. By far the
// most common mistake is a number without a unit.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%s has no unit, write %ss", quote(text), shorten(text))
	}
	return 0, fmt.Errorf("%s is not a duration, write it like 30s, 1m30s or 500ms", quote(text))
}

func splitList(text string) []string {
	list := []string{}
	if text == "" {
		return list
	}
	for one := range strings.SplitSeq(text, ",") {
		list = append(list, strings.TrimSpace(one))
	}
	return list
}

// Duration writes d as a person would: 2h, not 2h0m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote returns a value of the user's for a message: short, and on one line.
func quote(text string) string { return strconv.Quote(shorten(text)) }

// printable does the same for a key, and adds quotes only if the key needs them.
func printable(key string) string {
	for _, r := range key {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return quote(key)
		}
	}
	return shorten(key)
}

// shorten cuts a text that would make a message unreadable.
func shorten(text string) string {
	const limit = 80
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit]) + "..."
}
