package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Values of the annotation disktype that OpenStack Ironic knows
// (ironic/common/image_service.py, identify_specific_image).
var (
	rawTypes   = []string{"raw", "applehv"}
	qcow2Types = []string{"qcow2", "qemu"}
)

// ironicRules are those of OpenStack Ironic and its Python agent, for
// image_source=oci://….
var ironicRules = []rule{
	{Ironic, "tag", ironicTag},
	{Ironic, "digest-header", ironicHeader},
	{Ironic, "entry", ironicEntry},
	{Ironic, "disktype", ironicDiskTypes},
	{Ironic, "manifest", ironicManifest},
	{Ironic, "layer", ironicLayer},
	{Ironic, "mbr", ironicMBR},
	{Ironic, "sectors", ironicSectors},
	{Ironic, "qcow2", ironicQCOW2},
}

// ironicTag holds that the tag is found the way that Ironic looks for it: in
// the list of tags.
func ironicTag(ctx context.Context, s *subject) (Verdict, string, error) {
	ref := s.from.Reference()
	switch {
	case !s.remote():
		return note("Ironic fetches from registries: push or copy it to one, and ask again")
	case ref.Digest != "" && s.index != nil:
		return note("Ironic takes the digest of a disk's manifest, not of an index: name a tag that stays, such as VERSION-BUILD")
	case ref.Digest != "":
		return note("by digest it works with image_download_source=local and instance_info.image_disk_format=raw only: name a tag that stays")
	}
	tag := ref.Name()
	for t, err := range s.from.Tags(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return "", "", err
			}
			return fails("Ironic looks for the tag in the registry's list, which cannot be had: %v", err)
		}
		if t == tag {
			return ok("the registry's list of tags has %s", tag)
		}
	}
	return fails("the registry's list of tags, where Ironic looks, does not have %s", tag)
}

func ironicHeader(_ context.Context, s *subject) (Verdict, string, error) {
	o := s.observer
	if o == nil || !s.remote() || o.manifests.Load() == 0 {
		return skip()
	}
	if o.digests.Load() < o.manifests.Load() {
		return fails("the registry sends manifests without the header Docker-Content-Digest")
	}
	return ok("the registry sends manifests with the header Docker-Content-Digest")
}

// disk is the entry that Ironic would choose; nil if there is none.
func (s *subject) disk(types []string) *entry {
	if s.index == nil {
		return &s.entries[0]
	}
	for _, t := range types {
		for i := range s.entries {
			if s.entries[i].diskType() == t {
				return &s.entries[i]
			}
		}
	}
	return nil
}

func ironicEntry(_ context.Context, s *subject) (Verdict, string, error) {
	switch {
	case s.index == nil:
		return note("is a manifest and no index, which older releases of Ironic do not take by tag")
	case s.variant():
		return fails("is a variant, which has no disk of its own: write it with esxi-img pull, or build an image with that kickstart")
	}
	e := s.disk(rawTypes)
	if e == nil {
		return fails("no entry of the index has the annotation disktype=raw on its descriptor")
	}
	arch := "any architecture"
	if p := e.desc.Platform; p != nil && p.Architecture != "" {
		arch = p.Architecture
		if !slices.Contains([]string{"amd64", "x86_64", "arm64", "aarch64"}, arch) {
			return fails("%s is for the architecture %q, which no node has", e.name(), arch)
		}
	}
	return ok("%s is for %s", e.name(), arch)
}

func ironicDiskTypes(_ context.Context, s *subject) (Verdict, string, error) {
	if s.index == nil {
		return skip()
	}
	for i := range s.entries {
		if s.entries[i].diskType() == "" {
			return fails("%s has no annotation disktype on its descriptor: Ironic may take it for a bootable container", s.entries[i].name())
		}
	}
	return ok("every entry has the annotation disktype on its descriptor")
}

func ironicManifest(_ context.Context, s *subject) (Verdict, string, error) {
	e := s.disk(rawTypes)
	if e == nil || s.variant() {
		return skip()
	}
	m := &e.manifest
	switch {
	case e.missing:
		return fails("%s is not there", e.name())
	case m.MediaType != ocispec.MediaTypeImageManifest:
		return fails("%s has the mediaType %q", e.name(), m.MediaType)
	case len(m.Layers) != 1:
		return fails("%s has %d layers: Ironic wants one", e.name(), len(m.Layers))
	case m.ArtifactType == "" && m.Config.MediaType != ocispec.MediaTypeEmptyJSON:
		return fails("%s has neither an artifactType nor an empty config: Ironic takes it for a bootable container", e.name())
	default:
		return ok("%s has one layer, a mediaType and an artifactType", e.name())
	}
}

// magics begin what is compressed.
var magics = map[string][]byte{
	"gzip": {0x1f, 0x8b}, "zstd": {0x28, 0xb5, 0x2f, 0xfd}, "xz": {0xfd, '7', 'z', 'X', 'Z', 0}, "bzip2": []byte("BZh"),
}

func ironicLayer(ctx context.Context, s *subject) (Verdict, string, error) {
	head, e, err := s.head(ctx, rawTypes)
	if err != nil || e == nil {
		return s.unreadable(e, err)
	}
	mediaType := e.manifest.Layers[0].MediaType
	for name, magic := range magics {
		if bytes.HasPrefix(head, magic) || strings.HasSuffix(mediaType, "+"+name) {
			return fails("the raw disk is compressed with %s: its bytes would go to the disk as they are", name)
		}
	}
	return ok("the raw disk is not compressed")
}

// ironicMBR holds the protective MBR against oslo.utils' format_inspector
// (GPTInspector): the partition table, of 16 bytes an entry at 446, must have
// one entry, the first, of type 0xEE, that starts at CHS 0/0/2 and LBA 1.
func ironicMBR(ctx context.Context, s *subject) (Verdict, string, error) {
	head, e, err := s.head(ctx, rawTypes)
	if err != nil || e == nil {
		return s.unreadable(e, err)
	}
	const table, size, protective = 446, 16, 0xEE
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xAA {
		return fails("the disk does not begin with an MBR")
	}
	first, rest := head[table:table+size], head[table+size:510]
	switch {
	case first[4] != protective:
		return fails("the first entry of the MBR is of type 0x%02X, not 0xEE: no GPT, or a hybrid MBR", first[4])
	case !bytes.Equal(rest, make([]byte, len(rest))):
		return fails("the MBR has other entries beside the protective one")
	case !bytes.Equal(first[1:4], []byte{0, 2, 0}):
		return fails("the MBR's entry starts at CHS %02x %02x %02x, not 00 02 00 (\"GPT MBR has invalid start CHS\")", first[1], first[2], first[3])
	case binary.LittleEndian.Uint32(first[8:]) != 1:
		return fails("the MBR's entry starts at LBA %d, not 1", binary.LittleEndian.Uint32(first[8:]))
	default:
		return ok("the protective MBR has one entry, 0xEE, from CHS 00 02 00 and LBA 1")
	}
}

// gptMagic begins the header of a GPT, which lies in the second sector (UEFI
// specification, "GPT Header").
var gptMagic = []byte("EFI PART")

func ironicSectors(ctx context.Context, s *subject) (Verdict, string, error) {
	head, e, err := s.head(ctx, rawTypes)
	if err != nil || e == nil {
		return s.unreadable(e, err)
	}
	for _, sector := range []int{512, 4096} {
		if len(head) >= sector+len(gptMagic) && bytes.HasPrefix(head[sector:], gptMagic) {
			return note("the disk is laid out for sectors of %d bytes, and Ironic writes it as it is: it does not start from disks with others", sector)
		}
	}
	return fails("the disk has no GPT")
}

func ironicQCOW2(ctx context.Context, s *subject) (Verdict, string, error) {
	if s.index == nil || s.disk(qcow2Types) == nil {
		return skip()
	}
	head, e, err := s.head(ctx, qcow2Types)
	if err != nil || e == nil {
		return s.unreadable(e, err)
	}
	if !bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return fails("%s is no qcow2 image", e.name())
	}
	return ok("%s is a qcow2 image, for image_download_source=local", e.name())
}

// headSize is what of a disk is looked at, in bytes: the MBR and the GPT's
// header, with sectors of 4096 bytes too.
const headSize = 8192

// errNoHead says that the beginning of a disk is not there.
var errNoHead = errors.New("the disk is not there")

// head reads the beginning of the disk in the entry that is chosen; no entry:
// there is none to look at. It is not verified: the layer is, as a whole, by
// who writes it.
func (s *subject) head(ctx context.Context, types []string) (head []byte, e *entry, err error) {
	e = s.disk(types)
	if e == nil || e.missing || s.variant() || len(e.manifest.Layers) != 1 {
		return nil, nil, nil
	}
	l := e.manifest.Layers[0]
	n := min(l.Size, headSize)
	if n <= 0 {
		return nil, nil, nil
	}
	r, err := s.from.FetchRange(ctx, l, 0, n)
	if errors.Is(err, registry.ErrRangeIgnored) {
		r, err = s.from.Fetch(ctx, l)
	}
	if errors.Is(err, registry.ErrNotFound) {
		return nil, e, fmt.Errorf("%w: %w", errNoHead, err)
	}
	if err != nil {
		return nil, e, err
	}
	head = make([]byte, n)
	_, err = io.ReadFull(r, head)
	return head, e, errors.Join(err, r.Close())
}

// unreadable ends a rule whose head could not be had.
func (s *subject) unreadable(e *entry, err error) (Verdict, string, error) {
	switch {
	case errors.Is(err, errNoHead):
		return fails("the disk %s is not there", e.manifest.Layers[0].Digest)
	case err != nil:
		return "", "", err
	default:
		return skip()
	}
}
