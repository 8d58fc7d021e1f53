package customize

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/esxi-img/esxi-img/pkg/imager"
)

const (
	// recordVersion is that of the record's form.
	recordVersion = 1
	// maxRecord bounds a record, in bytes, and maxSteps how often an image can
	// be customised: what is read from an image must have an end.
	maxRecord = 1 << 20
	maxSteps  = 100
)

// Record tells how an image was customised: the file imager.RecordPath, JSON.
// It holds no secrets and no digests of any that could be guessed.
type Record struct {
	Version int    `json:"version"` // 1
	Steps   []Step `json:"steps"`   // the first one first
}

// Step is one customising.
type Step struct {
	Source Source   `json:"source"`
	Edits  []Edit   `json:"changes"`
	Inputs []Digest `json:"inputs,omitempty"`
}

// Source is the image that was customised.
type Source struct {
	// Name of the file without its folder, or a reference.
	Name string `json:"name"`
	// Digest is "sha256:" and the digest of the raw disk, or of the image
	// manifest in a registry.
	Digest string `json:"digest"`
	// Size of the disk that the digest is of, in bytes: up to the end that its
	// partition table has, whatever was added to the disk behind that.
	Size int64 `json:"size"`
}

// Edit is one change, in words.
type Edit struct {
	What   string `json:"what"` // "kickstart", "kernelopt" …
	Detail string `json:"detail,omitempty"`
}

// String is the change in a line.
func (e Edit) String() string {
	if e.Detail == "" {
		return e.What
	}
	return e.What + " " + e.Detail
}

// Digest names a file that went into an image.
type Digest struct {
	What   string `json:"what"`   // as in Edit
	Name   string `json:"name"`   // without its folder
	SHA256 string `json:"sha256"` // hexadecimal digits
}

// digestOf names data.
func digestOf(what, name string, data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest{what, name, hex.EncodeToString(sum[:])}
}

// ParseRecord reads what an image tells of its customising.
func ParseRecord(data []byte) (*Record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("%s: has more than %d bytes", imager.RecordPath, maxRecord)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: is not the JSON that it should be", imager.RecordPath)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%s: is of version %d, only %d is known", imager.RecordPath, r.Version, recordVersion)
	}
	if len(r.Steps) == 0 || len(r.Steps) > maxSteps {
		return nil, fmt.Errorf("%s: has %d steps, 1 to %d are possible", imager.RecordPath, len(r.Steps), maxSteps)
	}
	return &r, nil
}

// with returns the record with a step more, nil standing for an empty one, and
// its text.
func (r *Record) with(s Step) (*Record, []byte, error) {
	next := &Record{Version: recordVersion}
	if r != nil {
		next.Steps = append(next.Steps, r.Steps...)
	}
	next.Steps = append(next.Steps, s)
	if len(next.Steps) > maxSteps {
		return nil, nil, &imager.InputError{
			Err: fmt.Errorf("was customised %d times, and its record takes no more", maxSteps), Advice: "begin from the image as it was built",
		}
	}
	data, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return nil, nil, err
	}
	if len(data) >= maxRecord {
		return nil, nil, &imager.InputError{Err: errors.New("its record of changes is full"), Advice: "begin from the image as it was built"}
	}
	return next, append(data, '\n'), nil
}
