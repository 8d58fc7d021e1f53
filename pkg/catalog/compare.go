package catalog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// compareStep is how many bytes of two files are compared, or hashed, at once.
const compareStep = 1 << 20

// Change says how something differs.
type Change string

// The kinds of change, from one side to the other.
const (
	Added      Change = "added"
	Removed    Change = "removed"
	Upgraded   Change = "upgraded"   // of a VIB: to a later version
	Downgraded Change = "downgraded" // of a VIB: to an earlier version
	Changed    Change = "changed"
)

// Difference is what Compare found. Lists are never nil.
type Difference struct {
	// Different says whether anything is.
	Different  bool             `json:"different"`
	Properties []PropertyChange `json:"properties"`
	VIBs       []VIBChange      `json:"vibs"`  // by name
	Files      []FileChange     `json:"files"` // by path
	Boot       []BootChange     `json:"bootCfg"`
	// BootUnknown says that a side's boot.cfg could not be read.
	BootUnknown bool `json:"bootCfgUnknown,omitempty"`
	// Kickstart is what changed of it in the unified format, "" if nothing did.
	Kickstart string `json:"kickstart"`
}

// PropertyChange is a property whose value differs. Those of a secret say only
// whether there is one.
type PropertyChange struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// VIBChange is a VIB that differs. A or B is nil where it is not there.
type VIBChange struct {
	Change Change `json:"change"`
	Name   string `json:"name"`
	A      *VIB   `json:"a,omitempty"`
	B      *VIB   `json:"b,omitempty"`
}

// FileChange is a file that differs. What is not there has no bytes.
type FileChange struct {
	Change Change    `json:"change"`
	Path   string    `json:"path"`
	SizeA  int64     `json:"sizeA"`
	SizeB  int64     `json:"sizeB"`
	Role   plan.Role `json:"role"`
	VIB    string    `json:"vib,omitempty"` // the name of its owner
}

// BootChange is a copy of boot.cfg that differs in what the boot loader takes
// from it. What is nil is the same.
type BootChange struct {
	Change     Change          `json:"change"`
	Path       string          `json:"path"`
	Title      *PropertyChange `json:"title,omitempty"`
	Kernel     *PropertyChange `json:"kernel,omitempty"`
	KernelOpts *ListChange     `json:"kernelopt,omitempty"`
	Modules    *ListChange     `json:"modules,omitempty"`
}

// ListChange is what differs between two lists.
type ListChange struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	// Reordered says that what both have stands in another order.
	Reordered bool `json:"reordered,omitempty"`
}

// Compare says what changes from a to b. Files of the same path and size are
// read where no digest tells whether they are the same; an error of that is a
// *plan.ReadError.
func Compare(ctx context.Context, a, b *Contents) (*Difference, error) {
	d := &Difference{
		Properties: compareProperties(a.Properties, b.Properties),
		VIBs:       compareVIBs(a.VIBs, b.VIBs),
		Boot:       []BootChange{},
		Kickstart:  compareKickstarts(a.Kickstart, b.Kickstart),
	}
	var err error
	if d.Files, err = compareFiles(ctx, a.Files, b.Files); err != nil {
		return nil, err
	}
	if d.BootUnknown = a.BootUnknown || b.BootUnknown; !d.BootUnknown {
		d.Boot = compareBoot(a.Boot, b.Boot)
	}
	d.Different = len(d.Properties)+len(d.VIBs)+len(d.Files)+len(d.Boot) > 0 || d.Kickstart != ""
	return d, nil
}

func compareProperties(a, b []Property) []PropertyChange {
	out := []PropertyChange{}
	for _, p := range a {
		i := slices.IndexFunc(b, func(q Property) bool { return q.Name == p.Name })
		if i < 0 || b[i].Value == p.Value {
			continue
		}
		change := PropertyChange{p.Name, p.Value, b[i].Value}
		if p.Secret || b[i].Secret {
			change.A, change.B = veiled(change.A, change.B)
		}
		out = append(out, change)
	}
	return out
}

// veiled says of two secrets whether they are there.
func veiled(a, b string) (string, string) {
	switch {
	case a == "":
		return "", "set"
	case b == "":
		return "set", ""
	default:
		return "set", "another one"
	}
}

// compareVIBs pairs VIBs of the same name: first those of the same version, then
// the others in the order of their versions.
func compareVIBs(a, b []VIB) []VIBChange {
	byName := func(list []VIB) map[string][]*VIB {
		m := map[string][]*VIB{}
		for i := range list {
			m[list[i].Name] = append(m[list[i].Name], &list[i])
		}
		for _, same := range m {
			slices.SortStableFunc(same, func(x, y *VIB) int { return CompareVersions(x.Version, y.Version) })
		}
		return m
	}
	inA, inB := byName(a), byName(b)
	out := []VIBChange{}
	for name, left := range inA {
		out = append(out, pairVIBs(name, left, inB[name])...)
		delete(inB, name)
	}
	for name, right := range inB {
		out = append(out, pairVIBs(name, nil, right)...)
	}
	slices.SortFunc(out, func(x, y VIBChange) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.version(), y.version()))
	})
	return out
}

func (c *VIBChange) version() string {
	if c.A != nil {
		return c.A.Version
	}
	return c.B.Version
}

func pairVIBs(name string, a, b []*VIB) (out []VIBChange) {
	var left []*VIB
	right := slices.Clone(b)
	for _, x := range a {
		i := slices.IndexFunc(right, func(y *VIB) bool { return y.Version == x.Version })
		if i < 0 {
			left = append(left, x)
			continue
		}
		if *right[i] != *x {
			out = append(out, VIBChange{Changed, name, x, right[i]})
		}
		right = slices.Delete(right, i, i+1)
	}
	both := min(len(left), len(right))
	for i := range both {
		change := Upgraded
		switch c := CompareVersions(left[i].Version, right[i].Version); {
		case c > 0:
			change = Downgraded
		case c == 0: // "1.0" and "1.00"
			change = Changed
		}
		out = append(out, VIBChange{change, name, left[i], right[i]})
	}
	for _, x := range left[both:] {
		out = append(out, VIBChange{Removed, name, x, nil})
	}
	for _, y := range right[both:] {
		out = append(out, VIBChange{Added, name, nil, y})
	}
	return out
}

// byPath lists files by their paths in lower case: FAT and the boot loader know
// no other. Of two that differ in case the second keeps its own.
func byPath(files []File) map[string]*File {
	m := make(map[string]*File, len(files))
	for i := range files {
		key := strings.ToLower(files[i].Path)
		if m[key] != nil {
			key = files[i].Path + "\x00"
		}
		m[key] = &files[i]
	}
	return m
}

func compareFiles(ctx context.Context, a, b []File) ([]FileChange, error) {
	inA, inB := byPath(a), byPath(b)
	out := []FileChange{}
	for key, x := range inA {
		y := inB[key]
		if y == nil {
			out = append(out, FileChange{Removed, x.Path, x.Size, 0, x.Role, x.VIB})
			continue
		}
		same, err := sameContent(ctx, x, y)
		if err != nil {
			return nil, err
		}
		if !same {
			out = append(out, FileChange{Changed, y.Path, x.Size, y.Size, y.Role, cmp.Or(y.VIB, x.VIB)})
		}
	}
	for key, y := range inB {
		if inA[key] == nil {
			out = append(out, FileChange{Added, y.Path, 0, y.Size, y.Role, y.VIB})
		}
	}
	slices.SortFunc(out, func(x, y FileChange) int { return cmp.Compare(x.Path, y.Path) })
	return out, nil
}

// sameContent reads no more than it has to.
func sameContent(ctx context.Context, a, b *File) (bool, error) {
	if a.Size != b.Size || a.Size == 0 {
		return a.Size == b.Size, nil
	}
	switch {
	case a.SHA256 != nil && b.SHA256 != nil:
		return *a.SHA256 == *b.SHA256, nil
	case a.SHA256 != nil:
		return hasDigest(ctx, b, *a.SHA256)
	case b.SHA256 != nil:
		return hasDigest(ctx, a, *b.SHA256)
	}
	p, q := make([]byte, compareStep), make([]byte, compareStep)
	for at := int64(0); at < a.Size; at += compareStep {
		n := min(compareStep, a.Size-at)
		if err := errors.Join(a.read(ctx, p[:n], at), b.read(ctx, q[:n], at)); err != nil {
			return false, err
		}
		if !bytes.Equal(p[:n], q[:n]) {
			return false, nil
		}
	}
	return true, nil
}

func hasDigest(ctx context.Context, f *File, want [32]byte) (bool, error) {
	h, buf := sha256.New(), make([]byte, compareStep)
	for at := int64(0); at < f.Size; at += compareStep {
		part := buf[:min(compareStep, f.Size-at)]
		if err := f.read(ctx, part, at); err != nil {
			return false, err
		}
		h.Write(part)
	}
	return [32]byte(h.Sum(nil)) == want, nil
}

// read fills b.
func (f *File) read(ctx context.Context, b []byte, at int64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if f.Content == nil {
		return &plan.ReadError{Path: f.Path, Err: errors.New("has neither content nor a digest")}
	}
	n, err := f.Content.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &plan.ReadError{Path: f.Path, Err: fmt.Errorf("at %d: %w", at+int64(n), err)}
}

// Names of the kickstarts in their difference.
const (
	kickstartA = "a/KS.CFG"
	kickstartB = "b/KS.CFG"
)

func compareKickstarts(a, b []byte) string {
	text := string(diff.Diff(kickstartA, a, kickstartB, b))
	// The line before the two names is of no format that patch knows.
	if _, rest, ok := strings.Cut(text, "\n"); ok {
		return rest
	}
	return text
}

func compareBoot(a, b []BootConfig) []BootChange {
	find := func(list []BootConfig, path string) *BootConfig {
		for i := range list {
			if strings.EqualFold(list[i].Path, path) {
				return &list[i]
			}
		}
		return nil
	}
	out := []BootChange{}
	for i := range a {
		x := &a[i]
		y := find(b, x.Path)
		if y == nil {
			out = append(out, BootChange{Change: Removed, Path: x.Path})
			continue
		}
		c := BootChange{
			Change: Changed, Path: y.Path,
			Title: compareText("title", x.Title, y.Title), Kernel: compareText("kernel", x.Kernel, y.Kernel),
			KernelOpts: compareLists(x.KernelOpts, y.KernelOpts), Modules: compareLists(x.Modules, y.Modules),
		}
		if c.Title != nil || c.Kernel != nil || c.KernelOpts != nil || c.Modules != nil {
			out = append(out, c)
		}
	}
	for i := range b {
		if find(a, b[i].Path) == nil {
			out = append(out, BootChange{Change: Added, Path: b[i].Path})
		}
	}
	return out
}

func compareText(name, a, b string) *PropertyChange {
	if a == b {
		return nil
	}
	return &PropertyChange{name, a, b}
}

// compareLists returns nil where the lists are the same.
func compareLists(a, b []string) *ListChange {
	if slices.Equal(a, b) {
		return nil
	}
	left, removed := common(a, b)
	right, added := common(b, a)
	return &ListChange{Added: added, Removed: removed, Reordered: !slices.Equal(left, right)}
}

// common splits a list into what the other has too, as often, and the rest.
func common(list, other []string) (both, rest []string) {
	count := map[string]int{}
	for _, s := range other {
		count[s]++
	}
	rest = []string{}
	for _, s := range list {
		if count[s] > 0 {
			count[s]--
			both = append(both, s)
		} else {
			rest = append(rest, s)
		}
	}
	return both, rest
}

// CompareVersions compares the versions of two VIBs, "8.0.2-0.0.22380479": the
// version and then the release, part by part, numbers as numbers. It is negative
// where a is the earlier one.
func CompareVersions(a, b string) int {
	versionA, releaseA, _ := strings.Cut(a, "-")
	versionB, releaseB, _ := strings.Cut(b, "-")
	return cmp.Or(compareParts(versionA, versionB), compareParts(releaseA, releaseB))
}

func compareParts(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = nextPart(a)
		y, b = nextPart(b)
		if c := comparePart(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b)) // whatever has more parts is later
}

// nextPart cuts off a run of digits or of letters, and what separates it from
// the next.
func nextPart(s string) (part, rest string) {
	s = strings.TrimLeftFunc(s, isSeparator)
	if s == "" {
		return "", ""
	}
	number := isNumeral(rune(s[0]))
	n := strings.IndexFunc(s, func(r rune) bool { return isSeparator(r) || isNumeral(r) != number })
	if n < 0 {
		return s, ""
	}
	return s[:n], strings.TrimLeftFunc(s[n:], isSeparator)
}

func isNumeral(r rune) bool { return r >= '0' && r <= '9' }

func isSeparator(r rune) bool {
	return !isNumeral(r) && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// comparePart takes a number for later than letters.
func comparePart(a, b string) int {
	numberA, numberB := a != "" && isNumeral(rune(a[0])), b != "" && isNumeral(rune(b[0]))
	switch {
	case numberA && numberB:
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	case numberA:
		return 1
	case numberB:
		return -1
	default:
		return cmp.Compare(a, b)
	}
}
