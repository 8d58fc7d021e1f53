package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Config is the config blob: what a host needs to check the disk, build it
// again and change it, and what a catalog needs to show it. ParseConfig makes
// one of bytes; of any other, Validate says whether it is sound.
type Config struct {
	// Version is that of the format: "1.0".
	Version string `json:"version"`
	ESXi    ESXi   `json:"esxi"`
	ISO     ISO    `json:"iso"`
	Disk    Disk   `json:"disk"`
	// Base is what a variant was made from, nil for any other image.
	Base *Base `json:"base,omitempty"`
	// Extents tile the disk.
	Extents []Extent `json:"extents"`
	// Directories of the volume in the order in which they lie on the disk, in
	// the case in which they are stored.
	Directories []string `json:"directories"`
	// Files in the order in which they lie on the disk.
	Files      []File    `json:"files"`
	Planner    Planner   `json:"planner"`
	Kickstart  Kickstart `json:"kickstart"`
	Modules    []Module  `json:"modules"`
	KernelOpts []string  `json:"kernelopts"`
	VIBs       []VIB     `json:"vibs"`
	Builder    Builder   `json:"builder"`
}

// ESXi says which release an image installs. What nothing tells is empty.
type ESXi struct {
	Version      string `json:"version"`           // "8.0.2"
	Update       string `json:"update,omitempty"`  // "U2"
	Build        string `json:"build"`             // "22380479"
	Profile      string `json:"profile,omitempty"` // the image profile's name
	Vendor       string `json:"vendor,omitempty"`
	Architecture string `json:"architecture"` // "amd64" or "arm64"
}

// ISO says from which installer ISO an image was built.
type ISO struct {
	Name     string `json:"name"` // of the file, without its folder
	Size     int64  `json:"size"`
	SHA256   SHA256 `json:"sha256"`
	VolumeID string `json:"volumeID"`
}

// Disk says what the disk is like. Offsets and sizes are in bytes, from the
// start of the disk.
type Disk struct {
	Size       int64  `json:"size"`
	SectorSize int    `json:"sectorSize"` // 512 or 4096
	SHA256     SHA256 `json:"sha256"`     // of the whole disk; a variant's own, not its base's

	GUID          uuid.UUID `json:"guid"`
	PartitionGUID uuid.UUID `json:"partitionGUID"`
	PartitionName string    `json:"partitionName"`
	// PartitionOffset and PartitionSize are where the one partition lies.
	PartitionOffset int64 `json:"partitionOffset"`
	PartitionSize   int64 `json:"partitionSize"`

	// Of the FAT32 volume in the partition.
	VolumeID        uint32    `json:"volumeID"`
	Label           string    `json:"label"`
	Time            time.Time `json:"time"` // of every file, RFC 3339 in UTC, whole seconds
	ClusterSize     int       `json:"clusterSize"`
	FirstDataOffset int64     `json:"firstDataOffset"` // where cluster 2 lies
}

// Extent is a run of the disk: zeros if it has no digests.
type Extent struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	// SHA256 has a digest for each piece: PieceSize bytes, the last one what
	// is left.
	SHA256 []SHA256 `json:"sha256,omitempty"`
	// From says where the bytes come from. Only a variant has any but FromDisk.
	From Origin `json:"from,omitempty"`
	// Data are the bytes where From is FromGiven.
	Data []byte `json:"data,omitempty"`
}

// Zero says whether the extent is zeros.
func (e *Extent) Zero() bool { return len(e.SHA256) == 0 }

// End is the offset of the first byte after the extent.
func (e *Extent) End() int64 { return e.Offset + e.Length }

// Origin says where an extent's bytes come from.
type Origin string

// The origins of an extent's bytes.
const (
	FromDisk      Origin = ""          // the disk layer, at the same offset
	FromGiven     Origin = "given"     // the config itself: Extent.Data
	FromKickstart Origin = "kickstart" // the file with the role kickstart, which is a function of layer 2
)

// File is a file on the volume.
type File struct {
	Path   string    `json:"path"` // slash separated, no leading slash, in the case in which it is stored
	Size   int64     `json:"size"`
	Offset int64     `json:"offset"` // of its one run, from the start of the disk; 0 if it is empty
	SHA256 SHA256    `json:"sha256"`
	Role   plan.Role `json:"role"`
}

// Planner names the algorithm that laid out the disk. Where it is not known,
// or gives other bytes than the extents' digests say, its metadata comes from
// the disk layer.
type Planner struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// Kickstart says which kickstart was applied: layer 2.
type Kickstart struct {
	Size   int64  `json:"size"`
	SHA256 SHA256 `json:"sha256"`
	// Settings is the text of the file that lies beside the kickstart in its
	// tar: what the host scripts are told of the image. It is empty where there
	// is no such file.
	Settings string `json:"settings,omitempty"`
}

// Module is an installer module that was added, in the order in which the
// installer loads them. The first is layer 1.
type Module struct {
	Path   string `json:"path"` // on the volume
	Size   int64  `json:"size"`
	SHA256 SHA256 `json:"sha256"`
}

// VIB is a software package of the release.
type VIB struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Vendor     string   `json:"vendor"`
	Acceptance string   `json:"acceptance"`
	Files      []string `json:"files"` // paths of its payloads on the volume
}

// Builder says what built the image.
type Builder struct {
	Version string `json:"version"`
}

// Base says from which image a variant was made.
type Base struct {
	Index    digest.Digest `json:"index,omitempty"` // empty where the base was named by its manifest
	Manifest digest.Digest `json:"manifest"`
	Disk     digest.Digest `json:"disk"`     // of its disk layer, which is the variant's too
	DiskSize int64         `json:"diskSize"` // in bytes
}

// SHA256 is a digest that JSON has as 64 lower-case hexadecimal digits.
type SHA256 [sha256.Size]byte

// String returns the digits.
func (s SHA256) String() string { return hex.EncodeToString(s[:]) }

// Digest returns the digest as the image-spec writes it.
func (s SHA256) Digest() digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, s.String())
}

// MarshalText writes the digits.
func (s SHA256) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads exactly 64 lower-case digits.
func (s *SHA256) UnmarshalText(text []byte) error {
	if len(text) != 2*sha256.Size {
		return fmt.Errorf("a SHA-256 has %d digits, not %d", 2*sha256.Size, len(text))
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%q is not a lower-case hexadecimal digit of a SHA-256", c)
		}
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// parseDigest reads a digest of the image-spec that has to be a SHA-256.
func parseDigest(d digest.Digest) (SHA256, error) {
	var s SHA256
	if err := d.Validate(); err != nil {
		return s, err
	}
	if d.Algorithm() != digest.SHA256 {
		return s, fmt.Errorf("digest %s is not a SHA-256", d)
	}
	return s, s.UnmarshalText([]byte(d.Encoded()))
}

// ParseConfig reads a config and checks all that it says of itself: the
// limits, that the extents tile the disk, that the files lie in them. The
// error is a *FormatError.
func ParseConfig(b []byte) (*Config, error) {
	if len(b) > MaxConfig {
		return nil, malformed("config", "%d bytes are over the limit of %d", len(b), MaxConfig)
	}
	if err := checkShape(b, true); err != nil {
		return nil, malformed("config", "%w", err)
	}
	// First the version: what a later one means by the other fields is unknown.
	var head struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, malformed("config", "%w", err)
	}
	if err := checkVersion(head.Version); err != nil {
		return nil, malformed("config", "version: %w", err)
	}
	c := &Config{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, malformed("config", "%w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Encode writes a sound config. Configs are never encoded again: a copy is of
// the bytes.
func (c *Config) Encode() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(b) > MaxConfig {
		return nil, malformed("config", "%d bytes are over the limit of %d", len(b), MaxConfig)
	}
	if err := checkShape(b, true); err != nil {
		return nil, malformed("config", "%w", err)
	}
	return b, nil
}

// Variant says whether the image's disk layer is that of another one.
func (c *Config) Variant() bool { return c.Base != nil }
