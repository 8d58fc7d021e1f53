package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// openInput opens a file or a device that is to be read from any place, and
// tells its size.
func openInput(path string) (f *os.File, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, unusable(err)
	}
	if info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 { // opening one waits for whoever writes to it
		return nil, 0, inputError(fmt.Errorf("%s: cannot be read from any place", path), "save it to a file first")
	}
	f, err = os.Open(path)
	if err != nil {
		return nil, 0, unusable(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if info.IsDir() {
		return nil, 0, inputError(fmt.Errorf("%s: is a directory, not an image", path), "name the file")
	}
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, 0, inputError(fmt.Errorf("%s: cannot be read from any place: %w", path, err), "save it to a file first")
	}
	if size == 0 {
		return nil, 0, inputError(fmt.Errorf("%s: is empty", path), "download or copy it again")
	}
	return f, size, nil
}

// unusable is an input file that cannot be opened or read.
func unusable(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return inputError(fmt.Errorf("%s: %w", path.Path, path.Err), adviceForPath(path))
	}
	return inputError(err, "")
}

// openISO opens an installer ISO, and returns its file too.
func openISO(path string) (*iso.Image, *os.File, error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, nil, err
	}
	img, err := iso.Open(f, size)
	if err != nil {
		return nil, nil, errors.Join(isoFailure(path, err), f.Close())
	}
	return img, f, nil
}

func isoFailure(path string, err error) error {
	advice := "the ISO is damaged or cut short: compare its size and SHA-256 with the vendor's"
	if errors.Is(err, iso.ErrNotISO) {
		advice = "give the ESXi installer ISO as VMware or your hardware's vendor ships it"
	}
	return inputError(fmt.Errorf("%s: %w", path, err), advice)
}

// chooseISO takes the ISO that was named, else the configuration's, else the
// only one in the current folder.
func chooseISO(args []string, profile option.Profile) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if profile.ISO != "" {
		return profile.ISO, nil
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		return "", err
	}
	var seen []string
	for _, e := range entries {
		if strings.EqualFold(filepath.Ext(e.Name()), ".iso") && !e.IsDir() {
			seen = append(seen, e.Name())
		}
	}
	switch len(seen) {
	case 1:
		return seen[0], nil
	case 0:
		return "", usagef("name the installer ISO: esxi-img build ISO", "no ISO was named and none is in this folder")
	default:
		return "", usagef("name one of them", "no ISO was named and this folder has %s: %s",
			quantity.Count(len(seen), "ISO", "ISOs"), strings.Join(seen, ", "))
	}
}

// loadProfile reads the files that a profile names.
func loadProfile(p option.Profile) (imager.Profile, error) {
	out := imager.Profile{
		KernelOpts:         p.KernelOpts,
		Headroom:           int64(p.Headroom),
		SectorSize:         p.SectorSize,
		SkipPayloadDigests: !p.VerifyPayloads,
		MetadataRequired:   p.Metadata == "required",
	}
	var err error
	if out.Host, err = loadHost(p.Host); err != nil {
		return out, err
	}
	if out.Kickstart, out.Snippets, err = loadKickstart(p.Content); err != nil {
		return out, err
	}
	out.Modules, err = loadModules(p.Modules)
	return out, err
}

func loadModules(paths []string) ([]imager.Module, error) {
	var modules []imager.Module
	for _, path := range paths {
		data, err := readInput(path, imager.MaxModule)
		if err != nil {
			return nil, err
		}
		modules = append(modules, imager.Module{Name: filepath.Base(path), Data: data})
	}
	return modules, nil
}

// loadKickstart reads the user's kickstart, if any, and scripts.
func loadKickstart(p option.Content) (text []byte, snippets []kickstart.Snippet, err error) {
	if p.Kickstart != "" {
		if text, err = readInput(p.Kickstart, kickstart.MaxSize); err != nil {
			return nil, nil, err
		}
	}
	for _, group := range []struct {
		section kickstart.Section
		paths   []string
	}{{kickstart.Pre, p.Pre}, {kickstart.Post, p.Post}, {kickstart.Firstboot, p.Firstboot}} {
		for _, path := range group.paths {
			body, err := readInput(path, kickstart.MaxSize)
			if err != nil {
				return nil, nil, err
			}
			s, err := kickstart.NewSnippet(group.section, filepath.Base(path), body)
			if err != nil {
				return nil, nil, inputError(fmt.Errorf("%s: %w", path, err), "give the script the suffix .sh (busybox) or .py (Python)")
			}
			snippets = append(snippets, s)
		}
	}
	return text, snippets, nil
}

// readInput reads a whole file of at most limit bytes.
func readInput(path string, limit int64) ([]byte, error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.Join(inputError(fmt.Errorf("%s: %d bytes are over the limit of %d", path, size, limit), ""), f.Close())
	}
	data := make([]byte, size)
	if n, readErr := f.ReadAt(data, 0); int64(n) < size {
		err = unusable(readErr)
	}
	return data, errors.Join(err, f.Close())
}
