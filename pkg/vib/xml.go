package vib

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// vibXML is a VIB descriptor, as far as it matters here.
type vibXML struct {
	XMLName     xml.Name     `xml:"vib"`
	Type        string       `xml:"type"`
	Name        string       `xml:"name"`
	Version     string       `xml:"version"`
	Vendor      string       `xml:"vendor"`
	Summary     string       `xml:"summary"`
	ReleaseDate string       `xml:"release-date"`
	Acceptance  string       `xml:"acceptance-level"`
	Payloads    []payloadXML `xml:"payloads>payload"`
}

type payloadXML struct {
	Name      string        `xml:"name,attr"`
	Type      string        `xml:"type,attr"`
	Size      string        `xml:"size,attr"`
	Checksums []checksumXML `xml:"checksum"`
}

type checksumXML struct {
	Type    string `xml:"checksum-type,attr"`
	Process string `xml:"verify-process,attr"`
	Text    string `xml:",chardata"`
}

// profileXML is an image profile, likewise.
type profileXML struct {
	Name       string          `xml:"name"`
	Creator    string          `xml:"creator"`
	Acceptance string          `xml:"acceptancelevel"`
	VIBs       []profileVIBXML `xml:"viblist>vib"`
}

type profileVIBXML struct {
	ID       string `xml:"vib-id"`
	Payloads []struct {
		Payload string `xml:"payload-name,attr"`
		File    string `xml:",chardata"`
	} `xml:"payloads>payload"`
}

func readVIB(r io.Reader) (*VIB, error) {
	var x vibXML
	if err := decode(r, &x); err != nil {
		return nil, err
	}
	v := &VIB{
		Name: text(x.Name), Version: text(x.Version), Vendor: text(x.Vendor), Summary: text(x.Summary),
		Type: text(x.Type), Acceptance: text(x.Acceptance), ReleaseDate: text(x.ReleaseDate),
	}
	if v.Name == "" || v.Version == "" {
		return nil, errors.New("the VIB has no name or no version")
	}
	v.ID = strings.Join([]string{v.Vendor, v.Type, v.Name, v.Version}, "_")
	if n := len(x.Payloads); n > MaxPayloads {
		return nil, fmt.Errorf("%d payloads: %w", n, ErrTooLarge)
	}
	for _, px := range x.Payloads {
		p, err := px.payload()
		if err != nil {
			return nil, fmt.Errorf("payload %q: %w", clip(px.Name), err)
		}
		v.Payloads = append(v.Payloads, p)
	}
	return v, nil
}

func (x payloadXML) payload() (Payload, error) {
	p := Payload{Name: text(x.Name), Type: text(x.Type), Size: -1}
	if p.Name == "" {
		return p, errors.New("it has no name")
	}
	if s := text(x.Size); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return p, fmt.Errorf("size %q is not a number of bytes", clip(s))
		}
		p.Size = n
	}
	for _, c := range x.Checksums {
		if !strings.EqualFold(text(c.Type), "sha-256") {
			continue
		}
		var to **[32]byte
		switch text(c.Process) {
		case "":
			to = &p.SHA256
		case "gunzip":
			to = &p.GunzipSHA256
		default:
			continue
		}
		sum, err := hex.DecodeString(text(c.Text))
		if err != nil || len(sum) != 32 {
			return p, fmt.Errorf("sha-256 %q is not 64 hexadecimal digits", clip(text(c.Text)))
		}
		if *to != nil && **to != [32]byte(sum) {
			return p, errors.New("two different sha-256 checksums of the same data")
		}
		*to = (*[32]byte)(sum)
	}
	return p, nil
}

// readProfile names a profile that has no name after its file.
func readProfile(r io.Reader, file string) (*Profile, error) {
	var x profileXML
	if err := decode(r, &x); err != nil {
		return nil, err
	}
	p := &Profile{Name: text(x.Name), Creator: text(x.Creator), Acceptance: text(x.Acceptance)}
	if p.Name == "" {
		p.Name = file
	}
	if n := len(x.VIBs); n > MaxVIBs {
		return nil, fmt.Errorf("%d VIBs: %w", n, ErrTooLarge)
	}
	for _, v := range x.VIBs {
		id := text(v.ID)
		if len(v.Payloads) > MaxPayloads {
			return nil, fmt.Errorf("%s: %d payloads: %w", clip(id), len(v.Payloads), ErrTooLarge)
		}
		p.VIBIDs = append(p.VIBIDs, id)
		for _, f := range v.Payloads {
			if name := text(f.File); name != "" {
				p.Files = append(p.Files, File{VIBID: id, Payload: text(f.Payload), Name: name})
			}
		}
	}
	return p, nil
}

func text(s string) string { return strings.TrimSpace(s) }

// decode reads one XML document into v, within MaxXML and MaxDepth. Document
// type declarations are refused, so there are no entities but XML's own five.
func decode(r io.Reader, v any) error {
	limit := &limited{r: r, left: MaxXML}
	raw := xml.NewDecoder(limit)
	raw.CharsetReader = charset
	if err := xml.NewTokenDecoder(&tokens{raw: raw}).Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("there is no XML in it")
		}
		return err
	}
	return nil
}

// charset takes what is a part of UTF-8; encoding/xml itself knows only that.
func charset(label string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "ascii", "us-ascii":
		return r, nil
	}
	return nil, fmt.Errorf("encoding %q is neither UTF-8 nor ASCII", clip(label))
}

// tokens passes XML tokens on and counts how deep they nest.
type tokens struct {
	raw   *xml.Decoder
	depth int
}

// Token implements xml.TokenReader. The decoder on top matches the tags.
func (t *tokens) Token() (xml.Token, error) {
	tok, err := t.raw.RawToken()
	if err != nil {
		return nil, err
	}
	switch tok.(type) {
	case xml.StartElement:
		if t.depth++; t.depth > MaxDepth {
			return nil, fmt.Errorf("more than %d elements inside each other: %w", MaxDepth, ErrTooLarge)
		}
	case xml.EndElement:
		t.depth--
	case xml.Directive:
		return nil, errors.New("a document type declaration is not allowed")
	}
	return tok, nil
}
