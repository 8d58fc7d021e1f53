package iso

import (
	"strconv"
	"strings"
)

// The digits of a build number: 5 since ESX 3, 8 today. Shorter numbers in a
// version are its patch level, longer ones a bulletin's date.
const (
	minBuildDigits = 5
	maxBuildDigits = 9
)

// The digits of a build number inside a name, where dates and OEM versions
// stand next to it.
const minNamedBuildDigits = 7

// ParseVersion takes a version apart as VIBs, boot.cfg and vmware -v write it:
//
//	8.0.3-0.70.24674464     8.0.3  U3  24674464
//	6.7.0-2.48.13006603     6.7.0  U2  13006603
//	9.0.1-0101.12345678     9.0.1      12345678
//	9.1.0.0.12345           9.1.0      12345
//	9.0.1.0-24957456        9.0.1      24957456
//	8.0.2 build-22380479    8.0.2  U2  22380479
//
// Updates are the third number of versions 7 and 8, and the first number of
// the patch level before; there are none from 9 on. A build is empty where the
// text has none.
func ParseVersion(s string) (version, update, build string, ok bool) {
	v, rest, ok := cutVersion(strings.TrimSpace(s))
	if !ok {
		return "", "", "", false
	}
	if v.patch < 0 {
		v.patch = 0
	}
	if rest == "" {
		return v.String(), v.update(), "", true
	}
	if !strings.ContainsRune("-. ", rune(rest[0])) {
		return "", "", "", false
	}
	rest = strings.TrimPrefix(rest[1:], "build-")
	level := strings.Split(strings.ReplaceAll(rest, "-", "."), ".")
	for _, n := range level {
		if n == "" || len(n) > maxBuildDigits || !allDigits(n) {
			return "", "", "", false
		}
	}
	if last := level[len(level)-1]; len(last) >= minBuildDigits {
		build = last
		level = level[:len(level)-1]
	}
	if v.major <= 6 && len(level) > 0 {
		v.updateNumber, _ = strconv.Atoi(level[0])
	}
	return v.String(), v.update(), build, true
}

// parseProfile finds version, update and build in the name of an image
// profile, whoever made it, or in a volume id that was made of one:
// ESXi-8.0U2-22380479-standard, ESXI-7.0U3G-20328353-STANDARD,
// Lenovo-VMware-ESXi-8.0.3-24674464-LNV.
func parseProfile(name string) (version, update, build string, ok bool) {
	lower := strings.ToLower(name)
	_, rest, ok := strings.Cut(lower, "esxi")
	if !ok {
		return "", "", "", false
	}
	rest = strings.TrimLeft(rest, "-_ ")
	if v, after, found := cutVersion(rest); found {
		rest = after
		after = strings.TrimLeft(after, "-_ ")
		if u, _, isUpdate := cutUpdate(after); isUpdate {
			v.updateNumber = u
			if v.major >= 7 && v.patch < 0 {
				v.patch = u
			}
		}
		v.patch = max(v.patch, 0)
		version, update = v.String(), v.update()
	}
	build = firstBuild(rest)
	return version, update, build, version != "" || build != ""
}

// number is the three-part version of a release.
type number struct {
	major, minor int
	patch        int // -1: not stated
	updateNumber int // where it is not the patch
}

func (v number) String() string {
	return strconv.Itoa(v.major) + "." + strconv.Itoa(v.minor) + "." + strconv.Itoa(v.patch)
}

func (v number) update() string {
	u := v.updateNumber
	if v.major == 7 || v.major == 8 {
		u = v.patch
	}
	if u <= 0 {
		return ""
	}
	return "U" + strconv.Itoa(u)
}

// cutVersion takes two or three numbers with dots between them off the start.
func cutVersion(s string) (v number, rest string, ok bool) {
	v.patch = -1
	var n int
	if n, s, ok = cutNumber(s); !ok || n == 0 {
		return v, "", false
	}
	v.major = n
	s, ok = strings.CutPrefix(s, ".")
	if !ok {
		return v, "", false
	}
	if v.minor, s, ok = cutNumber(s); !ok {
		return v, "", false
	}
	if after, found := strings.CutPrefix(s, "."); found {
		if n, tail, isNumber := cutNumber(after); isNumber {
			v.patch, s = n, tail
		}
	}
	return v, s, true
}

// cutNumber takes a number of one or two digits off the start.
func cutNumber(s string) (n int, rest string, ok bool) {
	end := digits(s)
	if end == 0 || end > 2 {
		return 0, s, false
	}
	n, err := strconv.Atoi(s[:end])
	return n, s[end:], err == nil
}

// cutUpdate takes "u2" or "update2" off the start.
func cutUpdate(s string) (n int, rest string, ok bool) {
	after, found := strings.CutPrefix(s, "update")
	if !found {
		if after, found = strings.CutPrefix(s, "u"); !found {
			return 0, s, false
		}
	}
	return cutNumber(after)
}

// firstBuild returns the first run of digits that is as long as a build.
func firstBuild(s string) string {
	for s != "" {
		n := digits(s)
		if n >= minNamedBuildDigits && n <= maxBuildDigits {
			return s[:n]
		}
		s = s[max(n, 1):]
	}
	return ""
}

// digits counts the digits that s begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

func allDigits(s string) bool { return digits(s) == len(s) }
