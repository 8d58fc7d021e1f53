package catalog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

func TestConstraint(t *testing.T) {
	for _, c := range []struct {
		constraint, takes, not string
	}{
		{"8.0", "8.0 8.0.0 8.0.3", "8 8.1 80.0 7.0.3"},
		{"=8.0.3", "8.0.3", "8.0.2 8.0.30"},
		{"==8.0.3", "8.0.3", "8.0"},
		{"!=8.0", "7.0.3 9.0.0", "8.0.3"},
		{">=8.0.3", "8.0.3 8.0.10 9.0 10.0.0", "8.0.2 8.0 7.9.9"},
		{">8.0.3", "8.0.4 8.1", "8.0.3 8.0.3.0"},
		{"<9", "8.0.3 6.7.0", "9.0.0 9 10.0"},
		{"<= 9", "9.0.0 8.0.3", "9.0.1"},
		{">=8.0.3 <9", "8.0.3 8.9", "9.0.0 8.0.2"},
		{">=8.0.3,<9", "8.0.3", "9.0.0"},
		{" >=8.0.3<9 ", "8.0.3", "9.0.0"},
	} {
		parsed, err := catalog.ParseConstraint(c.constraint)
		if err != nil {
			t.Errorf("%q: %v", c.constraint, err)
			continue
		}
		for _, release := range strings.Fields(c.takes) {
			if !parsed.Match(release) {
				t.Errorf("%q does not take %s", c.constraint, release)
			}
		}
		for _, release := range append(strings.Fields(c.not), "", "8.x", "223804799999.0") {
			if parsed.Match(release) {
				t.Errorf("%q takes %q", c.constraint, release)
			}
		}
	}
	for _, bad := range []string{"", " , ", ">=", "=>8", "8.x", ">=8.0.3 <", "8..0", "-1", "8.0-1", "1.2.3.4.5.6.7.8.9", strings.Repeat("8", 300)} {
		if _, err := catalog.ParseConstraint(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if !(catalog.Constraint{}).Match("") {
		t.Error("the zero value does not take all")
	}
}

func FuzzConstraint(f *testing.F) {
	f.Add(">=8.0.3 <9", "8.0.3")
	f.Add("!=8,=7.0", "x")
	f.Fuzz(func(_ *testing.T, constraint, release string) {
		if c, err := catalog.ParseConstraint(constraint); err == nil {
			c.Match(release)
		}
	})
}

// entries are images of one repository, and one of another.
func entries() []catalog.Entry {
	day := func(d int) *time.Time {
		t := time.Date(2024, 1, d, 0, 0, 0, 0, time.UTC)
		return &t
	}
	alice := []catalog.Signer{{Identity: "alice@example.com", Key: "SHA256:0123456789abcdef", Name: "the lab"}}
	return []catalog.Entry{
		{Repository: "r", Tag: "broken", Problem: "x"},
		{Repository: "r", Tag: "8.0", Version: "8.0.2-22380479", Release: "8.0.2", Build: "22380479", Created: day(3), Size: 2, Signed: catalog.StateVerified, Signers: alice},
		{Repository: "r", Tag: "8.0.2-22380479", Version: "8.0.2-22380479", Release: "8.0.2", Build: "22380479", Created: day(3), Size: 2, Signed: catalog.StateVerified, Signers: alice},
		{Repository: "r", Tag: "a-lab", Version: "8.0.2-22380479", Release: "8.0.2", Build: "22380479", Created: day(4), Size: 3, Variant: true, Signed: catalog.StateClaimed, Signers: alice},
		{Repository: "r", Tag: "older", Release: "8.0.2", Build: "888", Created: day(5), Size: 1, Signed: catalog.StateNone},
		{Repository: "r", Tag: "8.0.10", Release: "8.0.10", Build: "10000000", Created: day(1), Size: 5},
		{Repository: "q", Tag: "7", Release: "8.0.2", Build: "1"},
		{Repository: "r", Tag: "unknown"},
	}
}

func tags(list []catalog.Entry) string {
	var out []string
	for i := range list {
		out = append(out, list[i].Tag)
	}
	return strings.Join(out, " ")
}

func TestSelectAndSort(t *testing.T) {
	constraint, err := catalog.ParseConstraint(">=8.0.3")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		filter catalog.Filter
		order  string
		want   string
	}{
		"all":        {catalog.Filter{}, "release", "7 8.0.10 8.0 8.0.2-22380479 a-lab older unknown broken"},
		"by created": {catalog.Filter{}, "created", "7 older a-lab 8.0 8.0.2-22380479 8.0.10 unknown broken"},
		"by size":    {catalog.Filter{}, "size", "7 8.0.10 a-lab 8.0 8.0.2-22380479 older unknown broken"},
		"by tag":     {catalog.Filter{}, "tag", "7 8.0 8.0.10 8.0.2-22380479 a-lab older unknown broken"},
		"release":    {catalog.Filter{Release: constraint}, "tag", "8.0.10"},
		"newest":     {catalog.Filter{Newest: true}, "release", "7 8.0.10 8.0.2-22380479 unknown"},
		"identity":   {catalog.Filter{SignedBy: "alice@example.com"}, "tag", "8.0 8.0.2-22380479"},
		"key":        {catalog.Filter{SignedBy: "SHA256:0123456789ab", Newest: true}, "tag", "8.0.2-22380479"},
		"name":       {catalog.Filter{SignedBy: "the lab"}, "tag", "8.0 8.0.2-22380479"},
		"short key":  {catalog.Filter{SignedBy: "SHA256:01"}, "tag", ""},
		"somebody":   {catalog.Filter{SignedBy: "alice"}, "tag", ""},
	} {
		got := c.filter.Select(entries())
		if err := catalog.Sort(got, c.order); err != nil || tags(got) != c.want {
			t.Errorf("%s: %q, want %q (%v)", name, tags(got), c.want, err)
		}
	}
	if err := catalog.Sort(entries(), "colour"); err == nil {
		t.Error("sorted by colour")
	}
}
