package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// TestDecide holds what becomes of each tag's image, and why.
func TestDecide(t *testing.T) {
	build := func(build string, change ...func(*manifest)) *manifest {
		m := &manifest{ours: true, release: "8.0.2", build: build, architecture: "amd64"}
		for _, c := range change {
			c(m)
		}
		return m
	}
	of := func(base string) func(*manifest) {
		return func(m *manifest) { m.variant, m.bases = true, []digest.Digest{digest.FromString(base)} }
	}
	release := func(r string) func(*manifest) { return func(m *manifest) { m.release = r } }
	lists := func(names ...string) func(*manifest) {
		return func(m *manifest) {
			for _, n := range names {
				m.children = append(m.children, ocispec.Descriptor{Digest: digest.FromString(n)})
			}
		}
	}
	about := func(name string) func(*manifest) {
		return func(m *manifest) { m.subject = digest.FromString(name) }
	}
	foreign := func(change ...func(*manifest)) *manifest {
		m := build("", change...)
		m.ours = false
		return m
	}
	made := func(day int) func(*manifest) {
		return func(m *manifest) { m.created = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	}
	attachedTo := func(name string) string { return "sha256-" + digest.FromString(name).Encoded() }
	attached := attachedTo("1")
	for name, c := range map[string]struct {
		manifests map[string]*manifest
		tags      string // TAG=MANIFEST ...
		keep      int
		remove    []string
		want      string // TAG of what goes ..., in order
		why       map[string]string
	}{
		"by build as a number": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10")},
			tags:      "8.0.2-9=1 8.0.2-10=2", want: "8.0.2-9",
			why: map[string]string{"8.0.2-9": "1 newer of 8.0.2", "8.0.2-10": "the newest of 8.0.2"},
		},
		"each release by itself": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10", release("8.0.3")), "3": build("11", release("8.0.2.1"))},
			tags:      "8.0.2-9=1 8.0.3-10=2 8.0.2.1-11=3",
		},
		"each architecture by itself": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10", func(m *manifest) { m.architecture = "arm64" })},
			tags:      "8.0.2-9=1 8.0.2-10=2",
		},
		"two of three": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10"), "3": build("11")},
			tags:      "8.0.2-9=1 8.0.2-10=2 8.0.2-11=3", keep: 2, want: "8.0.2-9",
			why: map[string]string{"8.0.2-10": "one of the newest 2 of 8.0.2"},
		},
		"the same build counts once, unless it was made later": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("9"), "3": build("10", made(1)), "4": build("10", made(2))},
			tags:      "a-9=1 b-9=2 a-10=3 b-10=4", keep: 2, want: "a-9 b-9",
		},
		"a name keeps": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10")},
			tags:      "8.0.2-9=1 prod=1 8.0.2-10=2",
			why:       map[string]string{"8.0.2-9": "the tag prod may have been moved here, and others may use it"},
		},
		"a pattern": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10")},
			tags:      "8.0=1 8.0.2-10=2", remove: []string{"x", "8.*"}, want: "8.0",
		},
		"lines of variants": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("9", of("1")), "3": build("10"), "4": build("10", of("3")), "5": build("9", of("1"))},
			tags:      "8.0.2-9=1 8.0.2-9-lab=2 8.0.2-10=3 8.0-lab=4 8.0.2-9-rack_7=5", want: "8.0.2-9-lab",
			why: map[string]string{
				"8.0.2-9-lab": "1 newer of 8.0.2 variant lab", "8.0-lab": "the newest of 8.0.2 variant lab",
				"8.0.2-9": "the tag 8.0.2-9-rack_7 needs it", "8.0.2-9-rack_7": "the newest of 8.0.2 variant rack-7",
			},
		},
		"a variant of two lines": {
			manifests: map[string]*manifest{"1": build("9", of("x")), "2": build("10", of("x"))},
			tags:      "a-9=1 b-9=1 a-10=2",
			why:       map[string]string{"a-9": "the newest of 8.0.2 variant b"},
		},
		"a base that goes with its last variant": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("9", of("1")), "3": build("10"), "4": build("10", of("3"))},
			tags:      "8.0.2-9=1 8.0.2-9-lab=2 8.0.2-10=3 8.0.2-10-lab=4", want: "8.0.2-9 8.0.2-9-lab",
		},
		"an index of others": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10"), "x": foreign(lists("y")), "y": foreign(lists("1"))},
			tags:      "8.0.2-9=1 8.0.2-10=2 all=x",
			why:       map[string]string{"8.0.2-9": "the tag all needs it"},
		},
		"a referrer with a tag": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10"), "x": foreign(about("y")), "y": foreign(about("1"))},
			tags:      "8.0.2-9=1 8.0.2-10=2 about=x",
			why:       map[string]string{"8.0.2-9": "the tag about needs it"},
		},
		"a list of referrers": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10"), "x": foreign(lists("y")), "y": foreign(about("1"))},
			tags:      "8.0.2-9=1 8.0.2-10=2 " + attached + "=x " + attached + ".sig=y", want: "8.0.2-9",
		},
		"a list of referrers of what stays": {
			manifests: map[string]*manifest{"1": build("9"), "2": build("10"), "x": foreign(lists("1"))},
			tags:      "8.0.2-9=1 8.0.2-10=2 " + attachedTo("2") + "=x",
			why:       map[string]string{"8.0.2-9": "the tag " + attachedTo("2") + " needs it"},
		},
		"broken, and without a build": {
			manifests: map[string]*manifest{"1": build("", func(m *manifest) { m.problem = "x" }), "2": build("10"), "3": build("x"), "4": build("1.2"), "5": build("11", release("?"))},
			tags:      "1=1 2-10=2 3-x=3 4-1.2=4 5-11=5",
			why:       map[string]string{"1": "broken, and so not compared: x", "3-x": "does not tell its release and build"},
		},
		"what needs itself": {
			manifests: map[string]*manifest{"1": build("9", of("2")), "2": build("9", of("1"), lists("2")), "3": build("10", of("3"))},
			tags:      "8.0.2-9=1 8.0.2-9.2=2 8.0.2-10=3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &state{tags: map[string]digest.Digest{}, manifests: map[digest.Digest]*manifest{}}
			for name, m := range c.manifests {
				m.desc.Digest = digest.FromString(name)
				s.manifests[m.desc.Digest] = m
			}
			for _, f := range strings.Fields(c.tags) {
				tag, name, _ := strings.Cut(f, "=")
				s.tags[tag] = digest.FromString(name)
			}
			var gone []string
			for _, img := range s.decide(&PruneOptions{Keep: max(c.keep, 1), RemoveTags: c.remove}).images {
				if img.remove {
					gone = append(gone, img.tags...)
				}
				if why := c.why[img.tags[0]]; why != "" && why != img.reason || img.reason == "" {
					t.Errorf("%s: %q, want %q", img.tags[0], img.reason, why)
				}
			}
			if got := strings.Join(gone, " "); got != c.want {
				t.Errorf("%q go, want %q", got, c.want)
			}
		})
	}
}

// FuzzDecide holds that nothing goes that a tag of something else reaches.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, uint8(1))
	f.Add([]byte("a variant of what is attached to a list"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, keep uint8) {
		const n = 12
		name := func(i byte) digest.Digest { return digest.FromString(fmt.Sprint(i % n)) }
		at := func(i int) byte {
			if i < len(data) {
				return data[i]
			}
			return 0
		}
		s := &state{tags: map[string]digest.Digest{}, manifests: map[digest.Digest]*manifest{}}
		for i := range n {
			b := data[min(i*4, len(data)):]
			get := func(j int) byte {
				if j < len(b) {
					return b[j]
				}
				return byte(i)
			}
			m := &manifest{desc: ocispec.Descriptor{Digest: name(byte(i))}, ours: get(0)%4 > 0, release: "8.0.2", build: fmt.Sprint(get(0) % 5)}
			switch get(1) % 5 {
			case 0:
				m.children = []ocispec.Descriptor{{Digest: name(get(2))}}
			case 1:
				m.subject = name(get(2))
			case 2:
				m.variant, m.bases = true, []digest.Digest{name(get(2))}
			}
			s.manifests[m.desc.Digest] = m
			switch at(i+40) % 6 {
			case 0:
				s.tags[fmt.Sprintf("name%d", i)] = m.desc.Digest
			case 1:
				s.tags["sha256-"+name(get(3)).Encoded()] = m.desc.Digest
			case 2:
			default:
				s.tags[fmt.Sprintf("%d-%s", i, m.build)] = m.desc.Digest
			}
		}
		d := s.decide(&PruneOptions{Keep: 1 + int(keep%3)})
		for _, img := range d.images {
			if img.remove && d.needed[img.desc.Digest] != "" {
				t.Fatalf("%v goes, and %s needs it", img.tags, d.needed[img.desc.Digest])
			}
		}
		for of := range d.needed {
			m := s.manifests[of]
			for _, c := range m.children {
				if d.needed[c.Digest] == "" {
					t.Fatalf("%s stays without what it lists", of)
				}
			}
			for _, b := range append(m.bases, m.subject) {
				if b != "" && d.needed[b] == "" {
					t.Fatalf("%s stays without what it needs", of)
				}
			}
		}
		for tag, of := range s.tags {
			img := d.byDigest[of]
			if !attachedTag.MatchString(tag) && (img == nil || !img.remove) && d.needed[of] == "" {
				t.Fatalf("the tag %s stays without what it names", tag)
			}
		}
	})
}

// TestReaderLimit refuses what could not be held in memory.
func TestReaderLimit(t *testing.T) {
	r := newReader(nil, 0)
	many := &manifest{children: make([]ocispec.Descriptor, maxManifests/2)}
	var limit *registry.LimitError
	if err := r.add(many); err != nil {
		t.Fatal(err)
	}
	if err := r.add(many); !errors.As(err, &limit) {
		t.Error(err)
	}
}
