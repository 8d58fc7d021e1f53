package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// checkShape walks a JSON text before anything is made of it: how many values
// it has, how deep they lie, that no object has a name twice (of which parsers
// take one or the other), and that nothing follows it. With strict, no value is
// null, which Go's decoder takes for anything.
func checkShape(b []byte, strict bool) error {
	s := shape{dec: json.NewDecoder(bytes.NewReader(b)), strict: strict}
	s.dec.UseNumber()
	if err := s.value(0); err != nil {
		return err
	}
	if _, err := s.dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

type shape struct {
	dec    *json.Decoder
	values int
	strict bool
}

// value reads one value with all that is in it.
func (s *shape) value(depth int) error {
	token, err := s.next()
	if err != nil {
		return err
	}
	if token == nil && s.strict {
		return errors.New("a value is null")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		if depth == 0 {
			return errors.New("is not a JSON object")
		}
		return nil
	}
	if depth == maxNesting {
		return fmt.Errorf("values lie deeper than %d levels", maxNesting)
	}
	if delim == '{' {
		err = s.members(depth)
	} else {
		err = s.elements(depth)
	}
	if err != nil {
		return err
	}
	_, err = s.dec.Token() // the end of it
	return noEOF(err)
}

func (s *shape) members(depth int) error {
	seen := map[string]bool{}
	for s.dec.More() {
		token, err := s.next()
		if err != nil {
			return err
		}
		// encoding/json matches names without case.
		name := strings.ToLower(fmt.Sprint(token))
		if seen[name] {
			return fmt.Errorf("%s stands there twice", strconv.Quote(name))
		}
		seen[name] = true
		if err := s.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) elements(depth int) error {
	for s.dec.More() {
		if err := s.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// next reads a name, a value, or the beginning of one.
func (s *shape) next() (json.Token, error) {
	if s.values++; s.values > maxValues {
		return nil, fmt.Errorf("has more than %d values", maxValues)
	}
	token, err := s.dec.Token()
	return token, noEOF(err)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
