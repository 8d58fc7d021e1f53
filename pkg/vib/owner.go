package vib

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// stemLength is how many characters of a payload's name its file name keeps.
const stemLength = 8

// cutName returns the stem of a payload's file name: eight characters, in lower
// case, with "_" for what is no letter or digit.
func cutName(payload string) string {
	var out strings.Builder
	for _, r := range strings.ToLower(payload) {
		if out.Len() == stemLength {
			break
		}
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			out.WriteRune(r)
		} else {
			out.WriteByte('_')
		}
	}
	return out.String()
}

// splitName splits "net_x.v01" into its stem and the letter that stands for the
// payload's type. letter is "" if the name has another form.
func splitName(file string) (stem, ext, letter string) {
	stem, ext, _ = strings.Cut(strings.ToLower(file), ".")
	if len(ext) == 3 && ext[0] >= 'a' && ext[0] <= 'z' && isDigit(ext[1]) && isDigit(ext[2]) {
		letter = ext[:1]
	}
	return stem, ext, letter
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// Owners returns the files whose owner is certain, by their names in lower
// case: those that a profile names, and those whose name by the cutting rule
// only one payload can have.
func (db *Database) Owners() map[string]Owner {
	out := make(map[string]Owner, len(db.mapped)+len(db.cut))
	for key, owners := range db.cut {
		if len(owners) == 1 {
			out[key+"00"] = owners[0]
		}
	}
	for name, owners := range db.mapped {
		if len(owners) == 1 {
			out[name] = owners[0]
		} else {
			delete(out, name)
		}
	}
	return out
}

// Candidates returns the payloads that the file called name, of size bytes, may
// be; none if it is not a payload as far as the database tells. A negative size
// stands for one that is not known. name is a bare file name in any case.
//
// What a profile says decides. Without it, "net_x.v01" is a payload whose name
// is cut to net_x and whose type begins with v, and "features.gz" one of that
// name and size. Several are narrowed down by size if one has that size; if none
// has, all are returned: the file is then damaged, whichever it is.
func (db *Database) Candidates(name string, size int64) []Owner {
	if owners, ok := db.mapped[strings.ToLower(name)]; ok {
		return narrow(owners, size)
	}
	stem, ext, letter := splitName(name)
	if letter != "" {
		return narrow(db.cut[stem+"."+letter], size)
	}
	if ext != "gz" {
		return nil
	}
	var out []Owner
	for _, o := range db.stems[stem] {
		if size >= 0 && o.Payload.Size == size {
			out = append(out, o)
		}
	}
	return out
}

// narrow returns the owners of that size, all if there are none.
func narrow(owners []Owner, size int64) []Owner {
	var fit []Owner
	for _, o := range owners {
		if size < 0 || o.Payload.Size < 0 || o.Payload.Size == size {
			fit = append(fit, o)
		}
	}
	if len(fit) > 0 {
		return fit
	}
	return append(fit, owners...)
}

// Expectation is what the database says of a file before it is read.
type Expectation struct {
	Name       string  // of the file
	Size       int64   // of the file, in bytes
	Candidates []Owner // see Database.Candidates
}

// Expect looks a file up by its bare name and its size in bytes.
func (db *Database) Expect(name string, size int64) Expectation {
	return Expectation{Name: name, Size: size, Candidates: db.Candidates(name, size)}
}

// Known reports whether the database vouches for a digest: there are
// candidates, and each has one.
func (e Expectation) Known() bool {
	for _, o := range e.Candidates {
		if o.Payload.SHA256 == nil {
			return false
		}
	}
	return len(e.Candidates) > 0
}

// SHA256 returns the one digest that the file must have, nil if none or several
// are possible.
func (e Expectation) SHA256() *[32]byte {
	if !e.Known() {
		return nil
	}
	first := e.Candidates[0].Payload.SHA256
	for _, o := range e.Candidates[1:] {
		if *o.Payload.SHA256 != *first {
			return nil
		}
	}
	sum := *first
	return &sum
}

// Owner returns the candidate with that digest.
func (e Expectation) Owner(sum [sha256.Size]byte) (Owner, bool) {
	for _, o := range e.Candidates {
		if o.Payload.SHA256 != nil && *o.Payload.SHA256 == sum {
			return o, true
		}
	}
	return Owner{}, false
}

// CheckSize returns a *MismatchError if no candidate has the file's size: so a
// damaged file may be told without reading it.
func (e Expectation) CheckSize() error {
	for _, o := range e.Candidates {
		if o.Payload.Size < 0 || o.Payload.Size == e.Size {
			return nil
		}
	}
	if len(e.Candidates) == 0 || e.Size < 0 {
		return nil
	}
	return &MismatchError{Name: e.Name, Size: e.Size, Candidates: e.Candidates}
}

// Check returns a *MismatchError if the file's content, by its digest, is none
// of the candidates. Where the database vouches for nothing it returns nil.
func (e Expectation) Check(sum [sha256.Size]byte) error {
	if err := e.CheckSize(); err != nil {
		return err
	}
	if _, ok := e.Owner(sum); ok || !e.Known() {
		return nil
	}
	return &MismatchError{Name: e.Name, Size: e.Size, SHA256: &sum, Candidates: e.Candidates}
}

// MismatchError says that a file is not the payload that its VIB describes.
type MismatchError struct {
	Name       string
	Size       int64     // in bytes
	SHA256     *[32]byte // nil if the size is wrong already
	Candidates []Owner   // at least one
}

func (e *MismatchError) Error() string {
	o := e.Candidates[0]
	s := fmt.Sprintf("%s is not payload %q of VIB %s", e.Name, o.Payload.Name, o.VIB.ID)
	if more := len(e.Candidates) - 1; more > 0 {
		s += fmt.Sprintf(", nor %d others of that name", more)
	}
	if e.SHA256 == nil {
		return s + fmt.Sprintf(": it has %d bytes, expected %d", e.Size, o.Payload.Size)
	}
	return s + fmt.Sprintf(": its sha256 is %s, expected %s", hex.EncodeToString(e.SHA256[:]), hex.EncodeToString(o.Payload.SHA256[:]))
}
