package conf

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Marshal returns the struct that v is, or points to, as YAML that Tree.YAML reads: all
// keys, in the order of the struct, durations with units.
func Marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(structNode(reflect.Indirect(reflect.ValueOf(v)))); err != nil {
		return nil, fmt.Errorf("conf: %w", err)
	}
	err := enc.Close()
	return out.Bytes(), err
}

func structNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		n.Content = append(n.Content, textNode(name), valueNode(v.Field(i)))
	}
	return n
}

func valueNode(v reflect.Value) *yaml.Node {
	switch kindOf(v.Type()) {
	case kindDuration:
		return textNode(Duration(v.Interface().(time.Duration)))
	case kindBool:
		return plainNode("!!bool", strconv.FormatBool(v.Bool()))
	case kindInt:
		return plainNode("!!int", strconv.FormatInt(v.Int(), 10))
	case kindFloat:
		return plainNode("!!float", strconv.FormatFloat(v.Float(), 'g', -1, 64))
	case kindText:
		return textNode(v.String())
	case kindList:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range v.Len() {
			n.Content = append(n.Content, textNode(v.Index(i).String()))
		}
		return n
	}
	return structNode(v)
}

// textNode quotes a text with control characters, and "<<", YAML's merge key. The encoder
// would write a text with line breaks as a block, and cannot read back every block that it
// writes. It writes << without quotes.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.Tag == "!!str" && (s == "<<" || strings.ContainsFunc(s, unicode.IsControl)) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// plainNode returns a node without a visible tag. A float of 1.0 is written as "1" and must
// not come out as "!!float 1".
func plainNode(tag, s string) *yaml.Node {
	if tag == "!!float" && strings.IndexFunc(s, func(r rune) bool { return r != '-' && (r < '0' || r > '9') }) < 0 {
		tag = "!!int"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s}
}
