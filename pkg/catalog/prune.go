package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// PruneOptions say what of a repository is not needed any more.
type PruneOptions struct {
	// Keep is how many builds stay of each release, and of each line of variants
	// of it; at least 1.
	Keep int
	// RemoveTags are patterns (path.Match) of tags that may go beside those with
	// the build in them. All other tags keep what they name.
	RemoveTags []string
	// DryRun removes nothing.
	DryRun bool
	// Concurrency is how many requests travel at once; 0: DefaultConcurrency.
	Concurrency int
}

// Fate is what becomes of an image, and why.
type Fate struct {
	Digest  digest.Digest `json:"digest"`
	Tags    []string      `json:"tags"`
	Release string        `json:"release,omitempty"`
	Build   string        `json:"build,omitempty"`
	Variant bool          `json:"variant,omitempty"`
	Remove  bool          `json:"remove"`
	Reason  string        `json:"reason"`
	// Manifests are those that go with an image: its own and what is attached to
	// them. A layout finds them itself.
	Manifests []digest.Digest `json:"manifests,omitempty"`
	// Removed says that it is gone, TagsOnly that its tags are, and that the
	// place decides how long the rest stays.
	Removed  bool `json:"removed"`
	TagsOnly bool `json:"tagsOnly,omitempty"`
}

// Pruned is what became of a repository.
type Pruned struct {
	Repository string `json:"repository"`
	DryRun     bool   `json:"dryRun,omitempty"`
	Images     []Fate `json:"images"`
	// Foreign is how many tags name something else than an image of ours: they
	// stay, with all that they need.
	Foreign int `json:"foreign"`
	// Removed is how many images are gone.
	Removed int `json:"removed"`
	// Notes are what else somebody should know.
	Notes []string `json:"notes,omitempty"`
}

// Check refuses options that would remove too much or nothing.
func (o *PruneOptions) Check() error {
	if o.Keep < 1 {
		return fmt.Errorf("keep %d: at least 1 build of each release stays", o.Keep)
	}
	for _, p := range o.RemoveTags {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return nil
}

// image is a tagged image while it is decided on.
type image struct {
	*manifest
	tags   []string
	reason string
	remove bool
}

// decide finds out which images go. It looks at nothing but the state.
func (s *state) decide(opts *PruneOptions) *decisions {
	d := &decisions{state: s, images: s.images(), byDigest: map[digest.Digest]*image{}}
	for _, img := range d.images {
		d.byDigest[img.desc.Digest] = img
	}
	// 1. What is old, by its own account.
	newest := rank(d.images)
	for _, img := range d.images {
		img.judge(opts, newest)
	}
	// 2. What stays because something that stays needs it, until nothing is added.
	d.needed = map[digest.Digest]string{}
	for _, tag := range s.sortedTags() {
		if img := d.byDigest[s.tags[tag]]; (img == nil || !img.remove) && !d.belongs(tag) {
			d.need(s.tags[tag], tag)
		}
	}
	// 3. What is attached to what stays.
	for n := -1; n != len(d.needed); {
		n = len(d.needed)
		for _, tag := range s.sortedTags() {
			if d.belongs(tag) && d.needed[subjectOfTag(tag)] != "" {
				d.need(s.tags[tag], tag)
			}
		}
	}
	return d
}

// decisions are what becomes of each image, and what must stay.
type decisions struct {
	state    *state
	images   []*image // in order
	byDigest map[digest.Digest]*image
	// needed names, for each manifest that stays, a tag that needs it.
	needed map[digest.Digest]string
}

// belongs says whether a tag holds what is attached to a manifest that was
// reached: it stays and goes with that.
func (d *decisions) belongs(tag string) bool {
	return attachedTag.MatchString(tag) && d.state.manifests[subjectOfTag(tag)] != nil
}

// subjectOfTag is the digest in the name of a tag for what is attached.
func subjectOfTag(tag string) digest.Digest {
	tag, _, _ = strings.Cut(tag, ".")
	algorithm, encoded, _ := strings.Cut(tag, "-")
	return digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded)
}

// need keeps a manifest with all that it needs: what it lists, what it is
// about, and what it is a variant of.
func (d *decisions) need(of digest.Digest, tag string) {
	queue := []digest.Digest{of}
	for len(queue) > 0 {
		at := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if d.needed[at] != "" {
			continue
		}
		d.needed[at] = tag
		if img := d.byDigest[at]; img != nil && img.remove {
			img.remove, img.reason = false, "the tag "+tag+" needs it"
		}
		if m := d.state.manifests[at]; m != nil {
			for _, c := range m.children {
				queue = append(queue, c.Digest)
			}
			queue = append(queue, m.bases...)
			if m.subject != "" {
				queue = append(queue, m.subject)
			}
		}
	}
}

// images are the tagged images of ours, the newest first.
func (s *state) images() []*image {
	byDigest := map[digest.Digest]*image{}
	var out []*image
	for _, tag := range s.sortedTags() {
		m := s.manifests[s.tags[tag]]
		if m == nil || !m.ours || attachedTag.MatchString(tag) {
			continue
		}
		img := byDigest[m.desc.Digest]
		if img == nil {
			img = &image{manifest: m}
			byDigest[m.desc.Digest] = img
			out = append(out, img)
		}
		img.tags = append(img.tags, tag)
	}
	slices.SortStableFunc(out, func(a, b *image) int {
		return cmp.Or(compareReleases(b.release, a.release), compareReleases(b.build, a.build), cmp.Compare(a.tags[0], b.tags[0]))
	})
	return out
}

// line is a series of images of which each build follows the one before.
type line struct{ release, architecture, name string }

// lines are the series that an image is of: variants have one by each tag.
func (img *image) lines() []line {
	if !img.variant {
		return []line{{img.release, img.architecture, ""}}
	}
	var out []line
	for _, tag := range img.tags {
		l := line{img.release, img.architecture, "variant " + img.lineOf(tag)}
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// String names the line in a sentence.
func (l line) String() string { return strings.TrimSpace(l.release + " " + l.name) }

// tagParts separates the words of a tag.
var tagParts = regexp.MustCompile(`[-_]+`)

// lineOf is a tag without the release and the build of its image: "lab" of
// 8.0.2-22380479-lab, and of 8.0-lab.
func (img *image) lineOf(tag string) string {
	var words []string
	for _, p := range tagParts.Split(tag, -1) {
		if p != img.build && !img.isRelease(p) {
			words = append(words, p)
		}
	}
	return strings.Join(words, "-")
}

// isRelease says whether a word of a tag is a release: it begins as the image's
// does, 8.0U2 as 8.0.2.
func (img *image) isRelease(word string) bool {
	parts := strings.SplitN(img.release, ".", 3)
	if len(parts) < 2 {
		return false
	}
	rest, ok := strings.CutPrefix(word, parts[0]+"."+parts[1])
	return ok && (rest == "" || rest[0] < '0' || rest[0] > '9')
}

// hasBuild says whether a tag has the image's build in it, and so never moves.
func (img *image) hasBuild(tag string) bool {
	return slices.Contains(tagParts.Split(tag, -1), img.build)
}

// age orders the images of a line: what has the same counts as one.
type age struct {
	build   int
	created time.Time
}

func (a age) compare(b age) int {
	return cmp.Or(cmp.Compare(a.build, b.build), a.created.Compare(b.created))
}

func (img *image) age() age {
	n, _ := numbers(img.build) // known has looked
	return age{n[0], img.created}
}

// known says whether an image tells its release and its build.
func (img *image) known() bool {
	_, release := numbers(img.release)
	n, build := numbers(img.build)
	return release && build && len(n) == 1
}

// rank lists the ages in each line, the newest first.
func rank(images []*image) map[line][]age {
	ages := map[line][]age{}
	for _, img := range images {
		if img.problem != "" || !img.known() {
			continue
		}
		for _, l := range img.lines() {
			ages[l] = append(ages[l], img.age())
		}
	}
	for l := range ages {
		slices.SortFunc(ages[l], func(a, b age) int { return b.compare(a) })
		ages[l] = slices.CompactFunc(ages[l], func(a, b age) bool { return a.compare(b) == 0 })
	}
	return ages
}

// judge decides on one image by itself.
func (img *image) judge(opts *PruneOptions, newest map[line][]age) {
	switch {
	case img.problem != "":
		img.reason = "broken, and so not compared: " + img.problem
		return
	case !img.known():
		img.reason = "does not tell its release and build"
		return
	}
	var older []string
	for _, l := range img.lines() {
		at := slices.IndexFunc(newest[l], func(a age) bool { return a.compare(img.age()) == 0 })
		if at < opts.Keep {
			img.reason = fmt.Sprintf("one of the newest %d of %s", opts.Keep, l)
			if at == 0 {
				img.reason = "the newest of " + l.String()
			}
			return
		}
		older = append(older, fmt.Sprintf("%d newer of %s", at, l))
	}
	for _, tag := range img.tags {
		if !img.hasBuild(tag) && !slices.ContainsFunc(opts.RemoveTags, func(p string) bool { ok, _ := path.Match(p, tag); return ok }) {
			img.reason = "the tag " + tag + " may have been moved here, and others may use it"
			return
		}
	}
	img.remove, img.reason = true, strings.Join(older, ", ")
}

// ErrNothingDeletes says that a registry removes neither manifests nor tags.
var ErrNothingDeletes = errors.New("the registry removes neither manifests nor tags")
