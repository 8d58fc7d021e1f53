// Package strictyaml reads YAML in which a slip of the pen is an error: files
// that say whom to trust, or what becomes of a host.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxComplaint is how much is told of a complaint of the decoder, in bytes.
const maxComplaint = 500

// Decode reads one document into a pointer to a struct, and returns it as nodes
// too, which know their lines. An unknown name is an error, as are a name after
// which nothing stands and a second document.
func Decode(text []byte, into any) (*yaml.Node, error) {
	var document yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("is empty")
		}
		return nil, Plain(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document")
	}
	if err := noNull(&document); err != nil {
		return nil, err
	}
	dec = yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return nil, Plain(err)
	}
	return &document, nil
}

// noNull refuses a name after which nothing stands: "reject:" looks as if it
// said something.
func noNull(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return fmt.Errorf("line %d: nothing stands there", n.Line)
	}
	for _, c := range n.Content {
		if err := noNull(c); err != nil {
			return err
		}
	}
	return nil
}

// Plain tells the decoder's complaints in one line of bounded length, without
// the names of Go types.
func Plain(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var typeErr *yaml.TypeError
	if errors.As(err, &typeErr) {
		complaints := make([]string, len(typeErr.Errors))
		for i, c := range typeErr.Errors {
			complaints[i], _, _ = strings.Cut(c, " in type ")
			if what, kind, _ := strings.Cut(complaints[i], " into "); strings.Contains(kind, ".") {
				complaints[i] = what
			}
		}
		text = strings.Join(complaints, "; ")
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxComplaint {
		text = text[:maxComplaint] + "…"
	}
	return errors.New(strings.ToValidUTF8(text, ""))
}
