// Package catalog tells what lies in repositories, and how two images differ.
//
// A list takes one small request a tag: what it shows of an image stands in
// the annotations of its index. Who vouches for an image takes some more, all
// of them answered from the cache the next time, but for what may change.
package catalog

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	// DefaultConcurrency is how many manifests travel at once.
	DefaultConcurrency = 8
	// lookFactor is how many more questions are asked at once whose answers have
	// hardly any bytes: which digest a tag has, what refers to an image.
	lookFactor = 4
	// MaxText is the longest text of an image that is shown, in characters.
	MaxText = 200
	// shownKey is how much of a key's fingerprint tells it from others.
	shownKey = len("SHA256:") + 12
	// maxSigners is how many signers of an image are told.
	maxSigners = 20
)

// Options say how a list is made. The zero value lists without telling who
// vouches for what.
type Options struct {
	// Concurrency is how many manifests travel at once; 0: DefaultConcurrency.
	Concurrency int
	// Signers is whether to find out who vouches for each image.
	Signers bool
	// Verifier decides whose signatures count. Nil: nobody's are verified.
	Verifier artifact.Verifier
	// As is the repository as the verifier is told of it, where others know it by
	// another name. The zero value: as it was opened.
	As registry.Reference
	// Claims lists who says that they signed a subject, unverified. Nil: what is
	// not verified is not looked at.
	Claims func(ctx context.Context, s artifact.Subject) ([]Signer, error)
	// Cache is a folder for what has a digest and is read each time; empty for
	// none. It never stops a list: see List.Notes.
	Cache string
}

// State says what is known of who vouches for an image.
type State string

// The states.
const (
	// StateVerified is an image that the policy accepts.
	StateVerified State = "verified"
	// StateClaimed is one with signatures that nobody verified, or that do not
	// count: anybody who may push can attach some.
	StateClaimed State = "claimed"
	// StateNone is one without signatures.
	StateNone State = "none"
)

// Signer is who signed an image, or is said to have.
type Signer struct {
	Identity string     `json:"identity,omitempty"`
	Issuer   string     `json:"issuer,omitempty"`
	Key      string     `json:"key,omitempty"` // a fingerprint
	Name     string     `json:"name,omitempty"`
	Time     *time.Time `json:"time,omitempty"`
}

// Base is the image that a variant is one of.
type Base struct {
	Digest digest.Digest `json:"digest"`
	Tags   []string      `json:"tags,omitempty"` // in the same repository
}

// Entry is what a tag names. All of its texts fit for a terminal: control
// characters are replaced, and what is too long is cut.
type Entry struct {
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"`
	Digest     digest.Digest `json:"digest"`

	Title        string     `json:"title,omitempty"`
	Version      string     `json:"version,omitempty"` // VERSION-BUILD, a tag that never moves
	Release      string     `json:"release,omitempty"`
	Update       string     `json:"update,omitempty"`
	Build        string     `json:"build,omitempty"`
	Profile      string     `json:"profile,omitempty"`
	Architecture string     `json:"architecture,omitempty"`
	Size         int64      `json:"size,omitempty"` // of the disk, in bytes
	Created      *time.Time `json:"created,omitempty"`
	Variant      bool       `json:"variant,omitempty"`
	Base         *Base      `json:"base,omitempty"` // nil where a variant does not tell

	// Signed is empty where it was not asked for.
	Signed  State    `json:"signed,omitempty"`
	Signers []Signer `json:"signers,omitempty"`
	// Refused says why the policy does not accept it.
	Refused string `json:"refused,omitempty"`
	// Problem says why an image of ours is none; then there is nothing else.
	Problem string `json:"problem,omitempty"`
}

// Listing is what lies in a repository.
type Listing struct {
	Repository string  `json:"repository"`
	Entries    []Entry `json:"images"` // in order of their tags
	// Foreign is how many tags name something else than an image of ours.
	Foreign int `json:"foreign"`
	// Attached is how many tags are lists of referrers, or signatures in the
	// form of a tag: registries without a referrers API have them.
	Attached int `json:"attached"`
	// Gone is how many tags were listed and then not there.
	Gone int `json:"gone"`
	// Notes are what went wrong without harm to the list.
	Notes []string `json:"notes,omitempty"`
}

// List lists the images of a repository. An image that is broken is an entry
// that says so; a registry that does not answer is an error, and there is no
// list.
func List(ctx context.Context, repo *registry.Repository, opts Options) (*Listing, error) {
	l := newLister(repo, opts)
	out := &Listing{Repository: text(repo.Reference().Locator()), Entries: []Entry{}}
	// 1. The tags.
	tags, err := l.tags(ctx, out)
	if err != nil {
		return nil, err
	}
	// 2. What each of them names.
	found, err := l.readAll(ctx, tags)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].into(out)
	}
	// 3. Who vouches for it.
	if opts.Signers {
		if err := l.signers(ctx, found, out.Entries); err != nil {
			return nil, err
		}
	}
	// 4. What variants are variants of.
	nameBases(out.Entries)
	l.cache.remember(out.Repository, found)
	l.cache.Trim()
	out.Notes = l.cache.Notes()
	return out, nil
}

// Connections is how many connections to a registry a list with that
// concurrency keeps busy.
func Connections(concurrency int) int {
	if concurrency <= 0 {
		concurrency = DefaultConcurrency
	}
	return concurrency * lookFactor
}

// lister is a list that is being made.
type lister struct {
	repo    *registry.Repository
	opts    Options
	workers int
	cache   cache
	known   map[string]digest.Digest // what tags named the last time
}

func newLister(repo *registry.Repository, opts Options) *lister {
	l := &lister{repo: repo, opts: opts, workers: opts.Concurrency}
	if l.workers <= 0 {
		l.workers = DefaultConcurrency
	}
	// A layout lies at hand: a copy of what is in it saves nothing.
	if repo.Reference().Scheme == "" {
		l.cache = newCache(opts.Cache)
		l.known = l.cache.tags(text(repo.Reference().Locator()))
	}
	return l
}

// attachedTag is the name of a list of referrers (OCI distribution-spec 1.1,
// "Referrers Tag Schema"), or of a signature as cosign 2 stores it.
var attachedTag = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64,128}(\.[a-z]+)?$`)

// tags lists the tags, in order, without those that hold what is attached.
func (l *lister) tags(ctx context.Context, out *Listing) ([]string, error) {
	var tags []string
	for tag, err := range l.repo.Tags(ctx) {
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	n := len(tags)
	tags = slices.DeleteFunc(tags, attachedTag.MatchString)
	out.Attached = n - len(tags)
	return tags, nil
}

// named is what a tag was found to name.
type named struct {
	tag   string
	desc  ocispec.Descriptor
	gone  bool
	entry *Entry // nil where it is foreign
}

// into adds it to a listing.
func (n *named) into(out *Listing) {
	switch {
	case n.gone:
		out.Gone++
	case n.entry == nil:
		out.Foreign++
	default:
		n.entry.Repository = out.Repository
		out.Entries = append(out.Entries, *n.entry)
	}
}

// readAll reads what the tags name: those that are known from the last time are
// only asked for their digest, and the others read.
func (l *lister) readAll(ctx context.Context, tags []string) ([]named, error) {
	found := make([]named, len(tags))
	var known, others []int
	for i, tag := range tags {
		found[i].tag = tag
		if l.known[tag] != "" {
			known = append(known, i)
		} else {
			others = append(others, i)
		}
	}
	moved := make([]bool, len(tags))
	err := parallel.Do(ctx, l.workers*lookFactor, len(known), func(ctx context.Context, i int) error {
		ok, err := l.recall(ctx, &found[known[i]])
		moved[known[i]] = err == nil && !ok
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, i := range known {
		if moved[i] {
			others = append(others, i)
		}
	}
	return found, parallel.Do(ctx, l.workers, len(others), func(ctx context.Context, i int) error {
		return l.read(ctx, &found[others[i]])
	})
}

// recall takes what a tag names from the cache, if it still names what it did.
func (l *lister) recall(ctx context.Context, n *named) (bool, error) {
	d, err := l.repo.Look(ctx, n.tag)
	switch {
	case errors.Is(err, registry.ErrUntold):
		return false, nil
	case err != nil:
		return true, n.failed(ctx, err)
	}
	mediaType, raw, ok := l.cache.get(d)
	if !ok {
		return false, nil
	}
	n.desc = ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
	n.summarize(raw)
	return true, nil
}

// read fetches what a tag names.
func (l *lister) read(ctx context.Context, n *named) error {
	desc, raw, err := l.repo.FetchNamed(ctx, n.tag)
	if err != nil {
		return n.failed(ctx, err)
	}
	n.desc = desc
	l.cache.put(desc.MediaType, desc.Digest, raw)
	n.summarize(raw)
	return nil
}

// failed tells what is wrong with one tag from what is wrong with the registry.
// A tag may vanish between the list and the request; what is no manifest, or
// is over a limit, is a problem of its own.
func (n *named) failed(ctx context.Context, err error) error {
	var answer *registry.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, registry.ErrNotFound):
		n.gone = true
		return nil
	case errors.As(err, &answer) && (answer.Status != 0 || answer.Temporary()):
		return err
	case errors.As(err, &answer) && answer.Err != nil:
		err = answer.Err
	}
	n.entry = &Entry{Tag: text(n.tag), Problem: text(err.Error())}
	return nil
}

// summarize reads the annotations.
func (n *named) summarize(raw []byte) {
	s, err := artifact.Summarize(n.desc, raw)
	if errors.Is(err, artifact.ErrNotImage) {
		return
	}
	n.entry = &Entry{Tag: text(n.tag), Digest: n.desc.Digest}
	if err != nil {
		n.entry.Problem = text(err.Error())
		return
	}
	e := n.entry
	e.Title, e.Version = text(s.Title), word(s.Version)
	e.Release, e.Update, e.Build, e.Profile = word(s.Release), word(s.Update), word(s.Build), word(s.Profile)
	e.Architecture, e.Size, e.Created, e.Variant = word(s.Architecture), s.DiskSize, s.Created, s.Variant
	if s.Base != "" {
		e.Base = &Base{Digest: s.Base}
	}
}

// nameBases finds the tags of what variants are variants of.
func nameBases(entries []Entry) {
	tags := map[digest.Digest][]string{}
	for i := range entries {
		tags[entries[i].Digest] = append(tags[entries[i].Digest], entries[i].Tag)
	}
	for i := range entries {
		if b := entries[i].Base; b != nil {
			b.Tags = tags[b.Digest]
		}
	}
}

// String names a signer in a word or two: as the policy calls it, else by its
// identity, else by the beginning of its key's fingerprint.
func (s *Signer) String() string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Identity != "":
		return s.Identity
	case s.Key != "":
		return "key " + s.Key[:min(len(s.Key), shownKey)]
	default:
		return ""
	}
}
