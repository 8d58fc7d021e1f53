package customize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/imager"
)

const (
	// MaxDrive is the largest config drive, in bytes: OpenStack's own limit, and
	// what the host scripts take. The module that carries it has as much room.
	MaxDrive = 64<<20 - 2<<20
	// maxMetadata bounds one file, in bytes, as the host scripts do.
	maxMetadata = 1 << 20
	// maxContent is how many files of openstack/content are carried.
	maxContent = 256
	// maxKey and maxKeys bound SSH keys, in bytes and in number.
	maxKey  = 16 << 10
	maxKeys = 100
)

// The files of a drive that are carried: those that the host scripts read, and
// never the folders of older versions, which repeat the same passwords.
var (
	openStackFiles = []string{"meta_data.json", "network_data.json", "user_data", "vendor_data.json", "vendor_data2.json"}
	noCloudFiles   = []string{"meta-data", "user-data", "vendor-data", "network-config"}

	datedFolder = regexp.MustCompile(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}$`)
	contentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)
)

// Paths of single files.
const (
	MetaDataPath    = "openstack/latest/meta_data.json"
	NetworkDataPath = "openstack/latest/network_data.json"
	UserDataPath    = "openstack/latest/user_data"
)

// Drive is a config drive, or NoCloud's files.
type Drive struct {
	Name  string            // of the folder or file, for the record
	Files map[string][]byte // by path
}

// ReadDrive takes from a folder, or from the content of an ISO, what a host
// reads of a config drive. What it can't use is an *imager.InputError.
func ReadDrive(name string, fsys fs.FS) (*Drive, error) {
	d := &Drive{Name: path.Base(name), Files: map[string][]byte{}}
	unusable := func(err error) (*Drive, error) {
		return nil, &imager.InputError{Input: name, Err: err, Advice: "give a folder or an ISO with openstack/latest, or with NoCloud's meta-data and user-data"}
	}
	folder, err := newestFolder(fsys)
	if err != nil {
		return unusable(err)
	}
	if folder != "" {
		err = d.take(fsys, folder, "openstack/latest", openStackFiles)
		if err == nil && len(d.Files) > 0 {
			err = d.takeContent(fsys)
		}
	} else {
		err = d.take(fsys, ".", ".", noCloudFiles)
	}
	if err != nil {
		return unusable(err)
	}
	if len(d.Files) == 0 {
		return unusable(errors.New("is not a config drive: it has neither openstack/latest nor NoCloud's files"))
	}
	if err := checkMetadata(d.Files); err != nil {
		return unusable(err)
	}
	return d, nil
}

// newestFolder is openstack/latest, else the youngest version's; "" without.
func newestFolder(fsys fs.FS) (string, error) {
	top, err := fs.ReadDir(fsys, "openstack")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	newest := ""
	for _, e := range top {
		switch {
		case strings.EqualFold(e.Name(), "latest"):
			return "openstack/" + e.Name(), nil
		case e.IsDir() && datedFolder.MatchString(e.Name()):
			newest = max(newest, "openstack/"+e.Name())
		}
	}
	return newest, nil
}

func (d *Drive) take(fsys fs.FS, from, to string, names []string) error {
	for _, name := range names {
		data, err := readLimited(fsys, path.Join(from, name), maxMetadata)
		if errors.Is(err, fs.ErrNotExist) {
			// Plain ISO 9660 has no dashes.
			data, err = readLimited(fsys, path.Join(from, strings.ReplaceAll(name, "-", "_")), maxMetadata)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		d.Files[path.Join(to, name)] = data
	}
	return nil
}

func (d *Drive) takeContent(fsys fs.FS) error {
	entries, err := fs.ReadDir(fsys, "openstack/content")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for n, e := range entries {
		name := path.Join("openstack/content", e.Name())
		switch {
		case e.IsDir():
			continue
		case n >= maxContent:
			return fmt.Errorf("openstack/content: has more than %d files", maxContent)
		case !contentName.MatchString(e.Name()):
			return fmt.Errorf("%q: is not a name that a host takes", name)
		}
		data, err := readLimited(fsys, name, MaxDrive)
		if err != nil {
			return err
		}
		d.Files[name] = data
	}
	return nil
}

// readLimited reads a regular file of at most limit bytes.
func readLimited(fsys fs.FS, name string, limit int64) (_ []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: has more than %d bytes", name, limit)
	}
	return data, err
}

// checkMetadata refuses what no host could use. No error shows a value.
func checkMetadata(files map[string][]byte) error {
	total := 0
	for name, data := range files {
		total += len(data)
		if !strings.HasPrefix(name, "openstack/latest/") || path.Ext(name) != ".json" {
			continue
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil || members == nil {
			return fmt.Errorf("%s: is not an object of JSON", name)
		}
	}
	if total > MaxDrive {
		return fmt.Errorf("has %d bytes of metadata, at most %d are taken", total, MaxDrive)
	}
	return nil
}

// planMetadata merges what the image carries with what is given.
func (c *Changes) planMetadata(have map[string][]byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	if c.Drive != nil {
		have = c.Drive.Files
	}
	for name, data := range have {
		files[name] = data
	}
	for name, f := range c.Files {
		if len(f.Data) > maxMetadata {
			return nil, &imager.InputError{Input: f.Name, Err: fmt.Errorf("has %d bytes, a host takes at most %d", len(f.Data), maxMetadata)}
		}
		files[name] = f.Data
	}
	if c.Hostname != "" || len(c.SSHKeys) > 0 {
		if err := c.editMetaData(files); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(noCloudFiles, func(name string) bool { return files[name] != nil }) && len(c.Files)+len(c.SSHKeys)+len(c.Hostname) > 0 {
		return nil, &imager.InputError{
			Input: "metadata", Err: errors.New("is NoCloud's, beside which a host reads no files of a config drive"),
			Advice: "put the host name (local-hostname), keys and user data into its files",
		}
	}
	if err := checkMetadata(files); err != nil {
		return nil, &imager.InputError{Input: "metadata", Err: err}
	}
	return files, nil
}

// editMetaData puts host name and keys into meta_data.json.
func (c *Changes) editMetaData(files map[string][]byte) error {
	members := map[string]any{}
	if data := files[MetaDataPath]; data != nil {
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.UseNumber()
		if err := dec.Decode(&members); err != nil || members == nil {
			return &imager.InputError{Input: MetaDataPath, Err: errors.New("is not an object of JSON")}
		}
	}
	if c.Hostname != "" {
		if err := checkHostname(c.Hostname); err != nil {
			return err
		}
		members["hostname"] = c.Hostname
	}
	if len(c.SSHKeys) > maxKeys {
		return &imager.InputError{Input: "SSH keys", Err: fmt.Errorf("are %d, at most %d are taken", len(c.SSHKeys), maxKeys)}
	}
	if len(c.SSHKeys) > 0 {
		keys, ok := members["public_keys"].(map[string]any)
		if !ok && members["public_keys"] != nil {
			return &imager.InputError{Input: MetaDataPath, Err: errors.New("public_keys is not an object of names and keys"), Advice: "put the keys there"}
		}
		if keys == nil {
			keys = map[string]any{}
		}
		for _, key := range c.SSHKeys {
			addKey(keys, key)
		}
		members["public_keys"] = keys
	}
	data, err := json.MarshalIndent(members, "", " ")
	files[MetaDataPath] = append(data, '\n')
	return err
}

// addKey gives a key a name of its own, unless it is there.
func addKey(keys map[string]any, key string) {
	for _, have := range keys {
		if have == key {
			return
		}
	}
	for n := 1; ; n++ {
		name := fmt.Sprintf("key-%d", n)
		if _, taken := keys[name]; !taken {
			keys[name] = key
			return
		}
	}
}

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkHostname takes what RFC 1123 §2.1 does.
func checkHostname(name string) error {
	bad := len(name) > 253
	for label := range strings.SplitSeq(name, ".") {
		bad = bad || !hostLabel.MatchString(label)
	}
	if bad {
		return &imager.InputError{Err: fmt.Errorf("host name %q: is not one of letters, digits, dashes and dots", name), Advice: "give it as esx1 or esx1.example.com"}
	}
	return nil
}

// The kinds of SSH keys that a host of ESXi takes.
var sshKey = regexp.MustCompile(`^(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,3}( .*)?$`)

// ParseSSHKeys reads a file of public keys, as authorized_keys without options.
func ParseSSHKeys(name string, data []byte) ([]string, error) {
	fail := func(line int, why string) ([]string, error) {
		return nil, &imager.InputError{
			Input: fmt.Sprintf("%s:%d", name, line), Err: errors.New(why), Advice: "give the .pub file of a key (ssh-ed25519 AAAA… comment)",
		}
	}
	var keys []string
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.Contains(line, "PRIVATE KEY"):
			return fail(number, "is a private key")
		case len(line) > maxKey || !sshKey.MatchString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7F }):
			return fail(number, "is not an SSH public key")
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return fail(1, "holds no SSH public key")
	}
	return keys, nil
}
