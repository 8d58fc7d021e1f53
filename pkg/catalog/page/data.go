package page

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

// compared is what compare.js knows of an image.
type compared struct {
	Name        string         `json:"name"`
	Release     string         `json:"release"`
	Href        string         `json:"href"`
	Properties  [][3]string    `json:"properties"` // name, value, "secret" or ""
	VIBs        []catalog.VIB  `json:"vibs"`
	Files       []comparedFile `json:"files"`
	Boot        []comparedBoot `json:"boot"`
	BootUnknown bool           `json:"bootUnknown"`
	Kickstart   string         `json:"kickstart"`
	// KickstartID tells kickstarts apart that differ in what is not shown.
	KickstartID string `json:"kickstartID"`
}

type comparedFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Role   string `json:"role"`
	VIB    string `json:"vib"`
	SHA256 string `json:"sha256"`
}

type comparedBoot struct {
	Path       string   `json:"path"`
	Title      string   `json:"title"`
	Kernel     string   `json:"kernel"`
	KernelOpts []string `json:"kernelopts"`
	Modules    []string `json:"modules"`
}

// labels gives each secret a number, so that equal ones can be told without
// saying anything about them.
type labels map[string]string

func (l labels) of(secret string) string {
	if secret == "" {
		return ""
	}
	if l[secret] == "" {
		l[secret] = strconv.Itoa(len(l) + 1)
	}
	return l[secret]
}

// script is a program that says what an image is compared by: a page that was
// opened as a file may load programs from beside it, and nothing else.
func (img *Image) script(c *catalog.Contents, secrets labels) ([]byte, error) {
	out := compared{
		Name: img.name(), Release: img.release(), Href: img.href(), VIBs: c.VIBs, BootUnknown: c.BootUnknown,
		Kickstart: cleanLines(string(c.Kickstart)), KickstartID: secrets.of("kickstart " + digestOf(img.Kickstart)),
	}
	for _, p := range c.Properties {
		if p.Secret {
			out.Properties = append(out.Properties, [3]string{p.Name, secrets.of(p.Value), "secret"})
		} else {
			out.Properties = append(out.Properties, [3]string{p.Name, p.Value, ""})
		}
	}
	for _, f := range c.Files {
		x := comparedFile{Path: f.Path, Size: f.Size, Role: string(f.Role), VIB: f.VIB}
		if f.SHA256 != nil {
			x.SHA256 = hex.EncodeToString(f.SHA256[:])
		}
		out.Files = append(out.Files, x)
	}
	for _, b := range c.Boot {
		out.Boot = append(out.Boot, comparedBoot(b))
	}
	// No character in it ends a script element or a line of a program.
	b, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "esxiImg.take(%q, %s);\n", img.ID, b), nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
