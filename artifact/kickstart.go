package artifact

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// Where the kickstart and the settings lie in their tar.
const (
	kickstartPath = "esxiimg/KS.CFG"
	settingsPath  = "esxiimg/image.json"
)

// KickstartTar is the module that holds a kickstart on the disk, and beside it
// what the host scripts are told of the image, if anything: a pure function of
// the two texts, so that layer 2 is the kickstart itself.
func KickstartTar(text, settings []byte) ([]byte, error) {
	entries := []tardisk.Entry{{Path: kickstartPath, Data: text}}
	if len(settings) > 0 {
		entries = append(entries, tardisk.Entry{Path: settingsPath, Data: settings})
	}
	var b bytes.Buffer
	if err := tardisk.Write(&b, entries, time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// kickstartTar is the tar of the config's kickstart.
func (c *Config) kickstartTar(text []byte) ([]byte, error) {
	return KickstartTar(text, []byte(c.Kickstart.Settings))
}

// CheckKickstart holds that layer 2 is the kickstart that the config names, and
// that the file on the disk is its tar.
func (c *Config) CheckKickstart(text []byte) error {
	if got := SHA256(sha256.Sum256(text)); int64(len(text)) != c.Kickstart.Size || got != c.Kickstart.SHA256 {
		return malformed("layer", "the kickstart is %s of %d bytes, not %s of %d", got, len(text), c.Kickstart.SHA256, c.Kickstart.Size)
	}
	tar, err := c.kickstartTar(text)
	if err != nil {
		return malformed("layer", "kickstart: %w", err)
	}
	f := c.KickstartFile()
	if f == nil {
		return malformed("config: files", "none has the role kickstart")
	}
	if got := SHA256(sha256.Sum256(tar)); int64(len(tar)) != f.Size || got != f.SHA256 {
		return malformed("config: files", "%s is %s, but the kickstart's tar is %s", f.Path, f.SHA256, got)
	}
	return nil
}
