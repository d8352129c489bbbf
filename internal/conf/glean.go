package conf

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Glean returns every value that a text gives to the key "group.name", however wrong the rest
// of the text is. It is for switches that must work in a broken file.
//
// The values are as they are written, and "?" for a list or a mapping. A null is no value.
// whole is false if the text is not a YAML mapping: then a missing value proves nothing.
//
//	rebalance: {enabled: false}, rebalance.enabled: false    both spellings count
//	Rebalance: {Enabled: false}                              and any case
//	the key is given twice, or in a second document          both values count
//	the text is not valid YAML                               line by line, as far as it can be read
func Glean(data []byte, group, name string) (values []string, whole bool) {
	g := gleaner{group: fold(group), name: fold(name)}
	whole = true
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return g.values, whole
		}
		if err != nil {
			g.lines(string(data))
			return g.values, false
		}
		top := follow(doc.Content[0])
		whole = whole && (top.Kind == yaml.MappingNode || isNull(top))
		g.top(top)
	}
}

// gleaner collects the values of one key.
type gleaner struct {
	group, name string
	values      []string
}

// top reads the outermost mapping.
func (g *gleaner) top(n *yaml.Node) {
	eachEntry(n, func(key string, value *yaml.Node) {
		switch fold(key) {
		case g.group:
			eachEntry(value, func(key string, value *yaml.Node) {
				if fold(key) == g.name {
					g.take(value)
				}
			})
		case g.group + "." + g.name:
			g.take(value)
		}
	})
}

func (g *gleaner) take(n *yaml.Node) {
	n = follow(n)
	switch {
	case n.Kind != yaml.ScalarNode:
		g.values = append(g.values, "?")
	case !isNull(n):
		g.values = append(g.values, n.Value)
	}
}

// eachEntry calls f for each entry of a mapping, and for those that a merge key brings in.
func eachEntry(n *yaml.Node, f func(key string, value *yaml.Node)) {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := keyText(n.Content[i]), n.Content[i+1]
		if merged := follow(value); key == "<<" && merged != n && merged.Kind == yaml.MappingNode {
			for j := 0; j+1 < len(merged.Content); j += 2 {
				f(keyText(merged.Content[j]), merged.Content[j+1])
			}
			continue
		}
		f(key, value)
	}
}

var (
	comment = regexp.MustCompile(`(^|[\s])#.*`)
	entry   = regexp.MustCompile(`^(\W*)([\w.-]+)["']?\s*:\s*(.*)$`)
	word    = regexp.MustCompile(`^["']?([\w?!.-]+)`)
)

// lines reads a text that is not valid YAML. The group's name opens the group. A line that is
// not further in closes it; in braces, a closing brace does.
func (g *gleaner) lines(text string) {
	inside, depth := false, 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		for _, p := range split(comment.ReplaceAllString(strings.TrimRight(line, "\r\n"), "$1")) {
			if m := entry.FindStringSubmatch(p.text); m != nil {
				in, key := p.indent+len(m[1]), fold(m[2])
				switch {
				case key == g.group:
					inside, depth = true, in
					if p.end == '{' {
						depth = -1
					}
				case key == g.group+"."+g.name, inside && in > depth && key == g.name:
					g.word(m[3])
				case in <= depth:
					inside = false
				}
			}
			inside = inside && p.end != '}'
		}
	}
}

// word takes the first word of a value, without its quotes.
func (g *gleaner) word(text string) {
	if m := word.FindStringSubmatch(text); m != nil && m[1] != "null" {
		g.values = append(g.values, m[1])
	}
}

// piece is a part of a line, how far in it begins, and the character after it.
type piece struct {
	text   string
	indent int
	end    byte
}

// split cuts a line at braces and commas.
func split(line string) (out []piece) {
	from := 0
	for i := range len(line) {
		if c := line[i]; c == '{' || c == '}' || c == ',' {
			out = append(out, piece{line[from:i], from, c})
			from = i + 1
		}
	}
	return append(out, piece{line[from:], from, 0})
}
