package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxConstraint bounds the text of a constraint, in bytes.
const maxConstraint = 256

// Constraint says which releases are meant. The zero value takes all, those
// that are not known too.
type Constraint struct{ parts []bound }

// bound is one comparison of a constraint.
type bound struct {
	op      string // "=", "!=", ">=", ">", "<=" or "<"
	numbers []int
}

// ParseConstraint reads comparisons with spaces or commas between them, all of
// which have to hold: ">=8.0.3 <9". A release alone, or after = or !=, stands for
// all that begin with it: 8.0 for 8.0.3. What an order compares is padded with
// zeros: 9 is 9.0.0.
func ParseConstraint(s string) (Constraint, error) {
	var c Constraint
	if len(s) > maxConstraint {
		return c, fmt.Errorf("%d bytes are over the limit of %d", len(s), maxConstraint)
	}
	for rest := strings.TrimLeft(s, " ,"); rest != ""; {
		n := len(rest) - len(strings.TrimLeft(rest, "<>=!"))
		b := bound{op: rest[:n]}
		switch b.op {
		case "", "==":
			b.op = "="
		case "=", "!=", ">=", ">", "<=", "<":
		default:
			return c, fmt.Errorf("%q is none of =, !=, >=, >, <= and <", b.op)
		}
		rest = strings.TrimLeft(rest[n:], " ")
		end := strings.IndexAny(rest, " ,<>=!")
		if end < 0 {
			end = len(rest)
		}
		var ok bool
		if b.numbers, ok = numbers(rest[:end]); !ok {
			return c, fmt.Errorf("%q is no release, such as 8.0.3", rest[:end])
		}
		c.parts = append(c.parts, b)
		rest = strings.TrimLeft(rest[end:], " ,")
	}
	if len(c.parts) == 0 {
		return c, fmt.Errorf("%q names no release", s)
	}
	return c, nil
}

// Match says whether a release is meant. What is no release is not.
func (c Constraint) Match(release string) bool {
	if len(c.parts) == 0 {
		return true
	}
	have, ok := numbers(release)
	if !ok {
		return false
	}
	for _, b := range c.parts {
		if !b.match(have) {
			return false
		}
	}
	return true
}

func (b *bound) match(have []int) bool {
	begins := len(have) >= len(b.numbers) && slices.Equal(have[:len(b.numbers)], b.numbers)
	order := compareNumbers(have, b.numbers)
	switch b.op {
	case "=":
		return begins
	case "!=":
		return !begins
	case ">=":
		return order >= 0
	case ">":
		return order > 0
	case "<=":
		return order <= 0
	default:
		return order < 0
	}
}

// numbers reads a release: up to eight numbers with dots between them.
func numbers(s string) ([]int, bool) {
	const most = 8
	parts := strings.Split(s, ".")
	if len(parts) > most {
		return nil, false
	}
	out := make([]int, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, true
}

// compareNumbers compares with zeros behind the shorter one.
func compareNumbers(a, b []int) int {
	at := func(list []int, i int) int {
		if i < len(list) {
			return list[i]
		}
		return 0
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(at(a, i), at(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// compareReleases puts what is no release before all others.
func compareReleases(a, b string) int {
	x, okA := numbers(a)
	y, okB := numbers(b)
	switch {
	case okA && okB:
		return compareNumbers(x, y)
	case okA:
		return 1
	case okB:
		return -1
	default:
		return strings.Compare(a, b)
	}
}

// Filter says which entries are wanted. The zero value takes all.
type Filter struct {
	Release Constraint
	// SignedBy is who has to have signed, verified: an identity, a key's
	// fingerprint or its first 12 digits, or the policy's name for a signer.
	SignedBy string
	// Newest takes, of each release in each repository, the highest build only:
	// the base rather than its variants, and of the tags that name it the one that
	// never moves.
	Newest bool
}

// Select returns the entries that are wanted, in their order. Broken ones are
// only where nothing was asked for.
func (f Filter) Select(entries []Entry) []Entry {
	out := make([]Entry, 0, len(entries))
	for i := range entries {
		if f.wants(&entries[i]) {
			out = append(out, entries[i])
		}
	}
	if f.Newest {
		out = newest(out)
	}
	return out
}

func (f Filter) wants(e *Entry) bool {
	if e.Problem != "" {
		return len(f.Release.parts) == 0 && f.SignedBy == "" && !f.Newest
	}
	return f.Release.Match(e.Release) && (f.SignedBy == "" || e.signedBy(f.SignedBy))
}

// signedBy says whether a verified signature is by that one.
func (e *Entry) signedBy(who string) bool {
	return e.Signed == StateVerified && slices.ContainsFunc(e.Signers, func(s Signer) bool {
		return s.Identity == who || s.Name == who || len(who) >= shownKey && strings.HasPrefix(s.Key, who)
	})
}

// newest takes the best entry of each release.
func newest(entries []Entry) []Entry {
	type release struct{ repository, version string }
	best := map[release]int{}
	for i := range entries {
		key := release{entries[i].Repository, entries[i].Release}
		if at, ok := best[key]; !ok || entries[i].newer(&entries[at]) {
			best[key] = i
		}
	}
	out := entries[:0:0]
	for i := range entries {
		if best[release{entries[i].Repository, entries[i].Release}] == i {
			out = append(out, entries[i])
		}
	}
	return out
}

func (e *Entry) newer(other *Entry) bool {
	if c := compareReleases(e.Build, other.Build); c != 0 {
		return c > 0
	}
	if e.Variant != other.Variant {
		return other.Variant
	}
	if c := compareCreated(e, other); c != 0 {
		return c > 0
	}
	return e.Tag == e.Version && other.Tag != other.Version
}

func compareCreated(a, b *Entry) int {
	switch {
	case a.Created != nil && b.Created != nil:
		return a.Created.Compare(*b.Created)
	case a.Created != nil:
		return 1
	case b.Created != nil:
		return -1
	default:
		return 0
	}
}

// Orders that Sort knows.
var Orders = []string{"release", "created", "size", "tag"}

// Sort puts entries in order, those of each repository together: by release
// and created the newest first, by size the largest. Broken ones come last.
func Sort(entries []Entry, order string) error {
	by := map[string]func(a, b *Entry) int{
		"release": func(a, b *Entry) int {
			return -cmp.Or(compareReleases(a.Release, b.Release), compareReleases(a.Build, b.Build))
		},
		"created": func(a, b *Entry) int { return -compareCreated(a, b) },
		"size":    func(a, b *Entry) int { return -cmp.Compare(a.Size, b.Size) },
		"tag":     func(*Entry, *Entry) int { return 0 },
	}[order]
	if by == nil {
		return fmt.Errorf("%q is none of %s", order, strings.Join(Orders, ", "))
	}
	broken := func(e *Entry) int {
		if e.Problem != "" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), broken(&a)-broken(&b), by(&a, &b), strings.Compare(a.Tag, b.Tag))
	})
	return nil
}
