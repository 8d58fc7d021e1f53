package iso

import (
	"encoding/binary"
	"fmt"
)

// Limits on the El Torito boot catalog; images have two entries.
const (
	maxCatalogBytes = 4 * BlockSize
	catalogEntry    = 32 // bytes
)

// El Torito platforms (UEFI 2.10, 13.3.2.1).
const (
	PlatformX86 = 0x00 // BIOS
	PlatformEFI = 0xEF
)

// Header and boot indicators of catalog entries (El Torito 1.0, section 2).
const (
	headerValidation = 0x01
	headerMore       = 0x90
	headerLast       = 0x91
	entryBootable    = 0x88
	entryExtension   = 0x44
)

// BootImage is an entry of the El Torito boot catalog.
type BootImage struct {
	Platform    byte   // PlatformX86, PlatformEFI or another
	Bootable    bool   // else the entry is only listed
	MediaType   byte   // 0: no emulation
	LoadSegment uint16 // 0: 0x7C0
	SectorCount uint16 // to load, in sectors of 512 bytes; often too small for EFI
	LBA         uint32 // where it begins, in blocks of BlockSize
	Path        string // of the file with this first extent, "" if there is none
}

// BootImages returns the entries of the boot catalog, the default one first.
// Only bootable ones are known to begin inside the image.
func (im *Image) BootImages() []BootImage { return append([]BootImage(nil), im.boot...) }

// readBootCatalog reads the boot catalog. A catalog that makes no sense is a
// warning, since files don't depend on it; one outside the image is an error,
// since then more is missing.
func (im *Image) readBootCatalog() error {
	const path = "El Torito boot catalog"
	block := int64(im.volume.bootCatalog)
	if block == 0 {
		return nil
	}
	if !im.inside(block, BlockSize) {
		return &OutsideError{Path: path, Block: block, Length: BlockSize, Size: im.size}
	}
	b := make([]byte, min(maxCatalogBytes, im.size-block*BlockSize)/catalogEntry*catalogEntry)
	if err := im.readAt(b, block*BlockSize); err != nil {
		return fmt.Errorf("iso: %s: %w", path, err)
	}
	if problem := checkValidation(b[:catalogEntry]); problem != "" {
		im.warnf(path, "%s; it is ignored", problem)
		return nil
	}
	im.boot = parseCatalog(b)
	return im.placeBootImages(path)
}

// checkValidation checks the validation entry (El Torito 1.0, 2.1): the sum of
// its 16-bit words is zero.
func checkValidation(b []byte) string {
	if b[0] != headerValidation || b[30] != 0x55 || b[31] != 0xAA {
		return fmt.Sprintf("validation entry begins with %#x and ends with %#x %#x", b[0], b[30], b[31])
	}
	var sum uint16
	for i := 0; i < catalogEntry; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if sum != 0 {
		return fmt.Sprintf("validation entry's checksum is off by %#x", sum)
	}
	return ""
}

// parseCatalog reads the default entry and the sections after it; old writers
// leave out section headers. It ends at the first thing that it does not know.
func parseCatalog(b []byte) []BootImage {
	platform := b[1]
	images := []BootImage{parseBootEntry(b[catalogEntry:2*catalogEntry], platform)}
	left := 0 // entries of this section to come
	for b = b[2*catalogEntry:]; len(b) > 0; b = b[catalogEntry:] {
		switch e := b[:catalogEntry]; {
		case e[0] == entryExtension: // selection criteria of the entry before
		case e[0] == entryBootable || e[0] == 0 && left > 0:
			images = append(images, parseBootEntry(e, platform))
			left--
		case e[0] == headerMore || e[0] == headerLast:
			platform, left = e[1], int(binary.LittleEndian.Uint16(e[2:]))
		default:
			return images
		}
	}
	return images
}

// parseBootEntry reads a default or section entry (El Torito 1.0, 2.2, 2.4).
func parseBootEntry(e []byte, platform byte) BootImage {
	return BootImage{
		Platform:    platform,
		Bootable:    e[0] == entryBootable,
		MediaType:   e[1] & 0x0F,
		LoadSegment: binary.LittleEndian.Uint16(e[2:]),
		SectorCount: binary.LittleEndian.Uint16(e[6:]),
		LBA:         binary.LittleEndian.Uint32(e[8:]),
	}
}

// placeBootImages finds the files that the boot images are.
func (im *Image) placeBootImages(path string) error {
	byOffset := map[int64]string{}
	for _, n := range im.files {
		if _, ok := byOffset[n.offset()]; !ok && n.size > 0 {
			byOffset[n.offset()] = n.path
		}
	}
	for i := range im.boot {
		b := &im.boot[i]
		if b.Bootable && !im.inside(int64(b.LBA), 1) {
			return &OutsideError{Path: fmt.Sprintf("%s: entry %d", path, i), Block: int64(b.LBA), Length: 1, Size: im.size}
		}
		b.Path = byOffset[int64(b.LBA)*BlockSize]
	}
	return nil
}
