package signing

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// localPlaces begins the places that are on this machine: layouts and archives.
const localPlaces = registry.SchemeLayout + ":"

// PlaceOf says where what a reference names lies, as the scopes of a policy name
// places: host/path for a repository, and "oci:" with the absolute path, slash
// separated, for a layout or an archive. Different ways to write one host are
// one place.
func PlaceOf(ref string) (string, error) {
	r, err := registry.Parse(ref)
	if err != nil {
		return "", err
	}
	if r.Scheme == "" {
		return normalHost(r.Registry) + "/" + r.Repository, nil
	}
	dir, err := filepath.Abs(r.Path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return localPlaces + filepath.ToSlash(dir), nil
}

// samePlace says whether a repository that a signature claims is the place.
func samePlace(claimed, place string) bool {
	r, err := registry.Parse(claimed)
	return err == nil && r.Scheme == "" && r.Tag == "" && r.Digest == "" &&
		normalHost(r.Registry)+"/"+r.Repository == place
}

// normalHost writes a registry's name in one way: DNS does not care for case
// and for a dot at the end, HTTPS not for its own port.
func normalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	name, port, hasPort := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") {
		name, port, hasPort = host, "", false
	}
	name = strings.TrimSuffix(name, ".")
	switch name {
	case "registry-1.docker.io", "index.docker.io":
		name = "docker.io"
	}
	if hasPort {
		return name + ":" + port
	}
	return name
}

// hostRegexp is a host name or an address in brackets, perhaps with a port.
var hostRegexp = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

// driveRegexp begins an absolute path on Windows.
var driveRegexp = regexp.MustCompile(`^[A-Za-z]:/`)

// everywhere is the scope of what no other scope covers.
const everywhere = "*"

// scopePrefix checks what a scope covers, and writes it as places are written.
func scopePrefix(text string) (string, error) {
	if text == everywhere {
		return text, nil
	}
	if dir, ok := strings.CutPrefix(text, localPlaces); ok {
		return localScope(dir)
	}
	if strings.HasPrefix(text, registry.SchemeArchive+":") {
		return "", fmt.Errorf("archives are covered by what begins with %q, as layouts are", localPlaces)
	}
	host, repository, hasPath := strings.Cut(text, "/")
	// What the scope covers has to be the beginning of references.
	r, err := registry.Parse(text + "/x")
	if err != nil || r.Scheme != "" || r.Tag != "" || r.Digest != "" || !hostRegexp.MatchString(host) {
		return "", fmt.Errorf("a scope is a host, a host with the beginning of a repository's path, %q with a folder, or %q", localPlaces, everywhere)
	}
	if !hasPath {
		return normalHost(host), nil
	}
	return normalHost(host) + "/" + repository, nil
}

// localScope checks a folder: an absolute path, or nothing for all of them.
func localScope(dir string) (string, error) {
	switch {
	case dir == "":
		return localPlaces, nil
	case strings.Contains(dir, `\`):
		return "", errors.New("write the folder with slashes")
	case !path.IsAbs(dir) && !driveRegexp.MatchString(dir):
		return "", errors.New("the folder has to be an absolute path")
	case path.Clean(dir) != dir:
		return "", fmt.Errorf("write it as %s%s", localPlaces, path.Clean(dir))
	}
	return localPlaces + dir, nil
}

// covers says whether a place lies in a scope.
func covers(prefix, place string) bool {
	switch prefix {
	case everywhere:
		return true
	case localPlaces, localPlaces + "/":
		return strings.HasPrefix(place, localPlaces)
	default:
		return place == prefix || strings.HasPrefix(place, prefix+"/")
	}
}
