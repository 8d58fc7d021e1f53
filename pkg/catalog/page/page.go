// Package page shows a catalog in a browser: a table of images, a page for each
// of them, and what differs between any two.
//
// The same pages are files of a folder, which work without a server, and answers
// of a [Handler]. They are to be read without JavaScript, ask nobody else for
// anything, and trust nothing that a registry says: texts are cleaned, bounded
// and escaped, and the policy in each page lets no script run but the one beside
// it.
package page

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
)

const (
	// MaxImages is the most images of a folder: what they are compared by is in
	// memory, some 100 KiB each.
	MaxImages = 2000
	// maxStatements is how many signatures and attestations of an image are told.
	maxStatements = 50
	// maxTags is how many tags of one image are told.
	maxTags = 100
	// maxOthers is how many other pairs the page of a difference names.
	maxOthers = 20
	// maxRows is how many rows a table of a difference has.
	maxRows = 5000
	// maxDocument bounds an attestation that is shown, in bytes.
	maxDocument = 64 << 10
)

// Row is an image in the table: what one digest names in one repository.
type Row struct {
	// ID names the image's page.
	ID string
	// Entry is that of the first of the tags.
	catalog.Entry
	Tags []string
	// rank is its place in the order of releases, the newest first.
	rank int
}

// Broken says whether there is no page of it.
func (r *Row) Broken() bool { return r.Problem != "" || r.Digest == "" }

// Rows puts the tags that name one image into one row. Entries are in the order
// of catalog.Sort; the tags of a row begin with the one that never moves.
func Rows(entries []catalog.Entry) []Row {
	byRelease := slices.Clone(entries)
	_ = catalog.Sort(byRelease, catalog.Orders[0]) // one that it knows
	ranks := map[string]int{}
	for i := range byRelease {
		id := idOf(&byRelease[i])
		if _, ok := ranks[id]; !ok {
			ranks[id] = len(ranks)
		}
	}
	var out []Row
	at := map[string]int{}
	for i := range entries {
		e := &entries[i]
		id := idOf(e)
		n, seen := at[id]
		if !seen {
			at[id] = len(out)
			out = append(out, Row{ID: id, Entry: *e, Tags: []string{e.Tag}, rank: ranks[id]})
			continue
		}
		out[n].Tags = append(out[n].Tags, e.Tag)
	}
	for i := range out {
		fixed := out[i].Version
		slices.SortStableFunc(out[i].Tags, func(a, b string) int { return firstIf(a == fixed, b == fixed) })
	}
	return out
}

func firstIf(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// idOf makes a name of repository and digest: two repositories may have one
// image, with other tags and signatures. What has no digest is named by its tag.
func idOf(e *catalog.Entry) string {
	key := string(e.Digest)
	if key == "" {
		key = "tag " + e.Tag
	}
	sum := sha256.Sum256([]byte(e.Repository + "\n" + key))
	return hex.EncodeToString(sum[:16])
}

// isID says whether a text could be an ID.
func isID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16 && hex.EncodeToString(b) == s
}

// Image is what the page of an image shows.
type Image struct {
	Row
	// Locator is the repository, as commands name it.
	Locator string
	// PlainHTTP says that the registry has to be told of in plain HTTP.
	PlainHTTP bool
	// Loaded has all but the layers, Kickstart is layer 2. Nil where there is a
	// Problem.
	Loaded    *artifact.Image
	Kickstart []byte
	// Boot are the boot loader's configurations, nil where they cannot be read.
	Boot []catalog.BootConfig
	// Statements are what is attached, as it says of itself; More is how many
	// were not looked at.
	Statements []Statement
	More       int
	// Provenance is the predicate of the first provenance that is attached, JSON
	// that nobody verified; nil without one.
	Provenance []byte

	// What prepare made of it.
	shown    []byte            // the kickstart
	contents *catalog.Contents // nil where nothing is loaded
}

// Statement is a signature or an attestation as it says of itself: nobody
// verified it.
type Statement struct {
	Referrer digest.Digest
	Kind     string
	Signer   catalog.Signer
	Time     *time.Time
	Problem  string // why it says nothing of the image
}

// Difference is what differs between two images.
type Difference struct {
	A, B *Row
	*catalog.Difference
	// Veiled says that the kickstarts differ in what is not shown, and in nothing
	// else.
	Veiled bool
}

// prepare makes what an image is compared by, without what is not shown: most of
// the work for a page.
func (img *Image) prepare() {
	if img.Loaded == nil {
		return
	}
	img.shown = veil(img.Kickstart)
	img.contents = catalog.ContentsOfImage(img.Loaded, img.shown, img.Boot)
	cleanContents(img.contents)
}
