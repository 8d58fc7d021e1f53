package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// MaxPredicate is the largest predicate of a file, in bytes: a bundle has it in
// base64, and some 10 KiB more.
const MaxPredicate = 2 << 20

// LoadPredicate reads a file with a predicate: one JSON object. The error is an
// *InputError.
func LoadPredicate(file string) (json.RawMessage, error) {
	text, err := readInput(file, MaxPredicate)
	if err != nil {
		return nil, err
	}
	if err := checkPredicate(text); err != nil {
		return nil, &InputError{file, err}
	}
	return text, nil
}

func checkPredicate(text json.RawMessage) error {
	if !json.Valid(text) {
		return errors.New("is not JSON")
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return errors.New("is no JSON object, which a predicate has to be")
	}
	// A whole statement in a statement is what nobody means.
	var head struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
	}
	if json.Unmarshal(text, &head) == nil && head.Type != "" && head.PredicateType != "" {
		return errors.New("is an in-toto statement: give its predicate only")
	}
	return nil
}

// CheckPredicateType says what is wrong with the type of an attestation.
func CheckPredicateType(predicateType string) error {
	if predicateType == PredicateSignature {
		return errors.New("that is the type of signatures, which sign makes")
	}
	return CheckURI(predicateType)
}

// CheckURI says what is wrong with what has to be an absolute URI.
func CheckURI(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || len(text) > maxPolicyText {
		return fmt.Errorf("%q is not a URI", short(text))
	}
	return nil
}

// Attestations are the statements that say something of an image: of the index
// and of each manifest in it, as its signatures do, so that who pins a manifest
// finds them too.
func (s *Subjects) Attestations(predicateType string, predicate json.RawMessage) ([]Statement, error) {
	if err := CheckPredicateType(predicateType); err != nil {
		return nil, fmt.Errorf("predicate type: %w", err)
	}
	if err := checkPredicate(predicate); err != nil {
		return nil, fmt.Errorf("predicate: %w", err)
	}
	out := slices.Clone(s.Statements)
	for i := range out {
		out[i].PredicateType, out[i].Predicate = predicateType, predicate
	}
	return out, nil
}
