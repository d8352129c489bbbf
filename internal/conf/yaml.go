package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxFileSize is the size of the largest file that ReadFile reads, in bytes. A ConfigMap
// cannot be larger either.
const maxFileSize = 1 << 20

// ReadFile reads a configuration file of at most 1 MiB. It reads before it judges the size,
// since a file may grow in between.
func ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator chooses the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read-only, so nothing can be lost
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = &Error{Where: name, Text: fmt.Sprintf("larger than %d bytes", maxFileSize)}
	}
	return data, err
}

// YAML applies a YAML document; errors call it by name. An empty document is fine, and null
// leaves a key as it is. Unknown keys, repeated keys and values of the wrong type are
// errors. YAML returns false if the text is not valid YAML, and its content is unknown.
//
// It walks the nodes of the document instead of unmarshalling it, since only the nodes yield
// every mistake with its line.
func (t *Tree) YAML(name string, data []byte) bool {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return true
		}
		t.addSyntax(name, err)
		return false
	}
	y := yamlLayer{t, name}
	y.group("", doc.Content[0])
	// A second document would look as if it counted.
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		t.Add("", y.at(&second), "a second YAML document, only one is read")
	} else if !errors.Is(err, io.EOF) {
		t.addSyntax(name, err)
		return false
	}
	return true
}

var yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// addSyntax adds an error of the YAML parser in the form of all other errors.
func (t *Tree) addSyntax(name string, err error) {
	text := err.Error()
	if m := yamlMessage.FindStringSubmatch(text); m != nil {
		text = m[2]
		if m[1] != "" {
			name += ":" + m[1]
		}
	}
	t.Add("", name, "not valid YAML: "+shorten(text))
}

type yamlLayer struct {
	*Tree
	name string
}

func (y yamlLayer) at(n *yaml.Node) string { return y.name + ":" + strconv.Itoa(n.Line) }

// group reads a mapping. The depth of the struct bounds its recursion, so an alias that
// contains itself ends like any other unknown key.
func (y yamlLayer) group(path string, n *yaml.Node) {
	n = follow(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		y.Add(path, y.at(n), "must hold further keys, not "+describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := join(path, keyText(name))
		if line := seen[key]; line > 0 {
			y.Add(key, y.at(name), fmt.Sprintf("given twice, first on line %d", line))
			continue
		}
		seen[key] = name.Line
		y.entry(path, key, name, value)
	}
}

// entry reads one key and its value.
func (y yamlLayer) entry(path, key string, name, value *yaml.Node) {
	_, leaf := y.leaves[key]
	// In YAML, "a.b: 1" is a key with a dot, not b within a.
	flat := path == "" && last(key) != key
	switch {
	case name.Kind != yaml.ScalarNode:
		y.Add(key, y.at(name), "a key must be a word")
	case flat && (leaf || y.groups[key]):
		y.Add(key, y.at(name), "keys do not nest by dots in YAML, write each level on its own line")
	case leaf:
		y.leaf(key, follow(value))
	case y.groups[key]:
		y.group(key, value)
	default:
		y.addUnknown("key", key, key, y.at(name), func() string { return y.suggest(key) })
	}
}

func (y yamlLayer) leaf(key string, n *yaml.Node) {
	if isNull(n) {
		return
	}
	v, err := y.value(key, n)
	if err != nil {
		y.Add(key, y.at(n), err.Error())
		return
	}
	y.set(key, v, y.at(n))
}

// value checks the YAML type of a value before its text is parsed. A text in place of a
// number, or the reverse, is a mistake even if it could be converted.
func (y yamlLayer) value(key string, n *yaml.Node) (any, error) {
	typ := y.leaves[key].Type()
	kind := kindOf(typ)
	if kind == kindList {
		return list(n)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("must be a single value, not %s", describe(n))
	}
	tag := n.ShortTag()
	switch kind {
	case kindText:
		return n.Value, wantText(n)
	case kindBool, kindInt, kindFloat:
		v, err := parse(typ, n.Value)
		if err == nil && tag == "!!str" {
			return nil, fmt.Errorf("%s is text, write it without quotes", quote(n.Value))
		}
		return v, err
	}
	return parse(typ, n.Value)
}

func list(n *yaml.Node) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("must be a list like [a, b], not %s", describe(n))
	}
	out := make([]string, 0, len(n.Content))
	for i, one := range n.Content {
		one = follow(one)
		if one.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("entry %d must be text, not %s", i+1, describe(one))
		}
		if err := wantText(one); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		out = append(out, one.Value)
	}
	return out, nil
}

func wantText(n *yaml.Node) error {
	if n.ShortTag() != "!!str" {
		return fmt.Errorf("%s is not text, write it in quotes", shorten(n.Value))
	}
	return nil
}

func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func keyText(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return "?"
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return quote(n.Value)
}
