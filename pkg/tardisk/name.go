package tardisk

import (
	"fmt"
	"strings"
)

// VolumeName returns the name that a module file gets on the volume: 8.3, as
// the boot loader of an installed host reads no other, in upper case. Longer
// names are cut as VMware cuts those of payloads: to eight characters, with "_"
// for what is no letter or digit. ".tar.gz" becomes ".TGZ". Different files may
// get the same name; the caller sees whether they do.
func VolumeName(file string) (string, error) {
	base := strings.ToUpper(file[strings.LastIndexAny(file, `/\`)+1:])
	if stem, ok := strings.CutSuffix(base, ".TAR.GZ"); ok {
		base = stem + ".TGZ"
	}
	stem, ext := base, ""
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		stem, ext = base[:dot], base[dot+1:]
	}
	stem, ext = cut(stem, 8), cut(ext, 3)
	if strings.Trim(stem, "_") == "" {
		return "", nameError(file, "nothing of its name is left as an 8.3 name")
	}
	if reserved(stem) {
		return "", nameError(file, fmt.Sprintf("%s is a device name on FAT", stem))
	}
	if signed(stem) {
		return "", nameError(file, fmt.Sprintf("the boot loader wants a module called %s to be signed", stem))
	}
	if ext == "" {
		return stem, nil
	}
	return stem + "." + ext, nil
}

func nameError(file, reason string) error {
	return &Error{Entry: file, Reason: reason, Cure: "rename it, for example to MYMODULE.TGZ", Err: ErrFormat}
}

// cut keeps n characters, each a letter, a digit or "_".
func cut(s string, n int) string {
	var out strings.Builder
	for _, r := range s {
		if out.Len() == n {
			break
		}
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			out.WriteRune(r)
		} else {
			out.WriteByte('_')
		}
	}
	return out.String()
}

func reserved(stem string) bool {
	switch stem {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "COM" || stem[:3] == "LPT") && stem[3] >= '1' && stem[3] <= '9'
}

// signed lists the names that Secure Boot wants signed whatever they hold.
func signed(stem string) bool {
	switch stem {
	case "S", "SB", "ESXCORE", "ESXUPDT":
		return true
	}
	return false
}
