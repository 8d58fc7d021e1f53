package imager

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// InstallDisk chooses the disk to install on, in the form that the host scripts
// read. All that is told has to fit; Image and FirstDisk stand alone.
type InstallDisk struct {
	// Image is the disk that carries the image, as without any choice.
	Image bool `json:"image,omitempty"`
	// Serial, WWN ("0x" and lower-case digits), Path (a device of
	// /vmfs/devices/disks, or its name), Vendor and Model are the kernel's.
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	Path   string `json:"path,omitempty"`
	Vendor string `json:"vendor,omitempty"`
	Model  string `json:"model,omitempty"`
	// Size is "smallest" or "largest" of those that fit.
	Size string `json:"size,omitempty"`
	// MinBytes is the least size.
	MinBytes int64 `json:"min_bytes,omitempty"`
	// FirstDisk is the list of --firstdisk.
	FirstDisk []string `json:"firstdisk,omitempty"`
}

// The limits are those of the host scripts.
const (
	maxDiskSpec  = 1024 // characters
	maxFirstDisk = 16
	maxGiBDigits = 7
	gib          = 1 << 30
)

// diskKeys are those of "key=value;key=value".
var diskKeys = []string{"image", "serial", "wwn", "path", "vendor", "model", "size", "min_gib", "firstdisk"}

var (
	deviceName = regexp.MustCompile(`^(/vmfs/devices/disks/|/dev/disks/|naa\.|eui\.|t10\.|mpx\.|vml\.)`)
	wwnDigits  = regexp.MustCompile(`^[0-9a-f]{8,32}$`)
	gibDigits  = regexp.MustCompile(`^[0-9]+$`)
	diskFilter = regexp.MustCompile(`^[A-Za-z0-9_./ -]+$`)
)

// ParseInstallDisk reads a choice as it may stand in a server's metadata
// (esxi_install_disk): image, smallest, largest, a device (naa.…, eui.…, t10.…,
// mpx.…, vml.…, /vmfs/devices/disks/…), "key=value;key=value", or an object of
// JSON with those keys. The host scripts read the same words (settings.py).
func ParseInstallDisk(spec string) (*InstallDisk, error) {
	fail := func(err error) (*InstallDisk, error) { return nil, fmt.Errorf("disk %q: %w", spec, err) }
	text := strings.TrimSpace(spec)
	d := &InstallDisk{}
	var err error
	switch {
	case utf8.RuneCountInString(spec) > maxDiskSpec:
		return nil, fmt.Errorf("disk %.20q…: has more than %d characters", spec, maxDiskSpec)
	case !printable(spec):
		return fail(errors.New("has a control character"))
	case strings.HasPrefix(text, "{"):
		err = d.setJSON(text)
	case text == "smallest" || text == "largest":
		d.Size = text
	case text == "image":
		d.Image = true
	case deviceName.MatchString(text):
		d.Path = text
	default:
		err = d.setPairs(text)
	}
	if err != nil {
		return fail(err)
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *InstallDisk) setPairs(text string) error {
	for part := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if key = strings.TrimSpace(key); !ok || !slices.Contains(diskKeys, key) {
			return fmt.Errorf("is neither image, smallest, largest, a device (naa.…), nor key=value with a key of %s", strings.Join(diskKeys, ", "))
		}
		if err := d.set(key, strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

func (d *InstallDisk) setJSON(text string) error {
	var members map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&members); err != nil || dec.More() {
		return errors.New("is not an object of JSON")
	}
	for key, value := range members {
		if !slices.Contains(diskKeys, key) {
			return fmt.Errorf("%s is not known; keys are %s", key, strings.Join(diskKeys, ", "))
		}
		word, err := jsonWord(key, value)
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		if err := d.set(key, word); err != nil {
			return err
		}
	}
	return nil
}

// jsonWord is the text that "key=value" would have.
func jsonWord(key string, value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(v), nil
	case json.Number:
		if _, err := v.Int64(); err == nil && key != "image" {
			return v.String(), nil
		}
	case bool:
		if key == "image" {
			return strconv.FormatBool(v), nil
		}
	case []any:
		words := make([]string, len(v))
		for i, item := range v {
			word, err := jsonWord("", item)
			if err != nil || key != "firstdisk" {
				return "", fmt.Errorf("%s is not a text", key)
			}
			words[i] = word
		}
		return strings.Join(words, ","), nil
	}
	return "", fmt.Errorf("%s is not a text", key)
}

func (d *InstallDisk) set(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s is empty", key)
	}
	switch key {
	case "image":
		image, err := truth(value)
		d.Image = image
		return err
	case "serial":
		d.Serial = value
	case "wwn":
		digits := strings.ToLower(value)
		for _, prefix := range []string{"0x", "naa.", "eui."} {
			digits = strings.TrimPrefix(digits, prefix)
		}
		d.WWN = "0x" + strings.NewReplacer(":", "", "-", "").Replace(digits)
		return d.checkWWN()
	case "path":
		d.Path = value
	case "vendor":
		d.Vendor = value
	case "model":
		d.Model = value
	case "size":
		d.Size = value
		return d.checkSize()
	case "min_gib":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || !gibDigits.MatchString(value) || len(value) > maxGiBDigits || n == 0 {
			return errors.New("min_gib is not a whole number of GiB")
		}
		d.MinBytes = n * gib
	case "firstdisk":
		d.FirstDisk = nil
		for filter := range strings.SplitSeq(value, ",") {
			if filter = strings.TrimSpace(filter); filter != "" {
				d.FirstDisk = append(d.FirstDisk, filter)
			}
		}
	}
	return nil
}

func truth(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true", "yes", "on", "y", "1":
		return true, nil
	case "false", "no", "off", "n", "0":
		return false, nil
	}
	return false, errors.New("image is neither true nor false")
}

// Check says what the host scripts would refuse.
func (d *InstallDisk) Check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("disk %q: %w", d.String(), fmt.Errorf(format, args...))
	}
	limits := []struct {
		key, value string
		limit      int // characters
	}{{"serial", d.Serial, 128}, {"path", d.Path, 512}, {"vendor", d.Vendor, 64}, {"model", d.Model, 64}}
	others := d.Size != "" || d.WWN != "" || d.MinBytes != 0
	for _, l := range limits {
		if utf8.RuneCountInString(l.value) > l.limit {
			return fail("%s has more than %d characters", l.key, l.limit)
		}
		if !printable(l.value) {
			return fail("%s has a control character", l.key)
		}
		others = others || l.value != ""
	}
	switch {
	case !d.Image && !others && len(d.FirstDisk) == 0:
		return fail("chooses no disk")
	case d.Image && (others || len(d.FirstDisk) > 0):
		return fail("chooses the image's disk and another")
	case len(d.FirstDisk) > 0 && others:
		return fail("has firstdisk and something else")
	case d.MinBytes < 0:
		return fail("min_bytes is not a size")
	case len(d.FirstDisk) > maxFirstDisk:
		return fail("firstdisk has more than %d filters", maxFirstDisk)
	}
	if err := cmp.Or(d.checkWWN(), d.checkSize()); err != nil {
		return fail("%w", err)
	}
	for _, filter := range d.FirstDisk {
		if len(filter) > 64 || !diskFilter.MatchString(filter) {
			return fail("%q is not a filter of --firstdisk", filter)
		}
	}
	return nil
}

func (d *InstallDisk) checkWWN() error {
	if digits, ok := strings.CutPrefix(d.WWN, "0x"); d.WWN != "" && (!ok || !wwnDigits.MatchString(digits)) {
		return errors.New("wwn is not a WWN: 8 to 32 hexadecimal digits")
	}
	return nil
}

func (d *InstallDisk) checkSize() error {
	if d.Size != "" && d.Size != "smallest" && d.Size != "largest" {
		return errors.New("size is neither smallest nor largest")
	}
	return nil
}

// printable says whether a text has no control characters, and nothing that is
// shown as a line end.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7F && r < 0xA0 || r == '\u2028' || r == '\u2029' || r == '\uFEFF'
	})
}

// String is the choice in words that ParseInstallDisk reads, as long as no
// value has a semicolon.
func (d *InstallDisk) String() string {
	if d.Image {
		return "image"
	}
	var out []string
	for _, pair := range [][2]string{
		{"path", d.Path},
		{"wwn", d.WWN},
		{"serial", d.Serial},
		{"vendor", d.Vendor},
		{"model", d.Model},
		{"size", d.Size},
		{"firstdisk", strings.Join(d.FirstDisk, ",")},
	} {
		if pair[1] != "" {
			out = append(out, pair[0]+"="+pair[1])
		}
	}
	if d.MinBytes > 0 {
		out = append(out, fmt.Sprintf("min_gib=%d", d.MinBytes/gib))
	}
	return strings.Join(out, ";")
}
