package customize_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

func TestReadDriveRefuses(t *testing.T) {
	large := fstest.MapFS{"openstack/latest/meta_data.json": {Data: []byte("{}")}}
	for i := range 9 {
		large[fmt.Sprintf("openstack/content/%d", i)] = &fstest.MapFile{Data: make([]byte, 8<<20)}
	}
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"empty":     {fstest.MapFS{"x": {}}, "is not a config drive"},
		"no JSON":   {fstest.MapFS{"openstack/latest/network_data.json": {Data: []byte("secret")}}, "network_data.json: is not an object of JSON"},
		"user data": {fstest.MapFS{"openstack/latest/user_data": {Data: make([]byte, 1<<20+1)}}, "more than 1048576 bytes"},
		"large":     {large, "bytes of metadata"},
		"name":      {fstest.MapFS{"openstack/latest/user_data": {}, "openstack/content/a b": {}}, "is not a name"},
		"a folder":  {fstest.MapFS{"openstack/latest/user_data/x": {}}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := customize.ReadDrive("drive", c.fsys)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
	d, err := customize.ReadDrive("old", fstest.MapFS{"openstack/2018-08-27/user_data": {Data: []byte("b")}, "openstack/2012-08-10/user_data": {Data: []byte("a")}})
	if err != nil || string(d.Files[customize.UserDataPath]) != "b" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestReadDriveFromISO(t *testing.T) {
	for name, paths := range map[string][]string{
		"config-2": {"OPENSTACK/LATEST/META_DATA.JSON", customize.MetaDataPath},
		"cidata":   {"USER_DATA", "user-data"},
	} {
		var b bytes.Buffer
		file := esxitest.File{Path: paths[0], Size: 2, Content: strings.NewReader("{}")}
		if err := esxitest.WriteISO(&b, []esxitest.File{file}, esxitest.ISOOptions{VolumeID: name}); err != nil {
			t.Fatal(err)
		}
		img, err := iso.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		d, err := customize.ReadDrive("drive.iso", img)
		if err != nil || len(d.Files) != 1 || string(d.Files[paths[1]]) != "{}" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestParseSSHKeys(t *testing.T) {
	keys, err := customize.ParseSSHKeys("k.pub", []byte("# mine\r\nssh-ed25519 AAAAC3 me@home\n\necdsa-sha2-nistp256 AAAA\n"))
	if err != nil || len(keys) != 2 || keys[0] != "ssh-ed25519 AAAAC3 me@home" {
		t.Errorf("%q, %v", keys, err)
	}
	for text, want := range map[string]string{
		"":                                    "holds no SSH public key",
		"-----BEGIN OPENSSH PRIVATE KEY-----": "is a private key",
		"ssh-rsa AAAA\nhunter2":               "k.pub:2: is not an SSH public key",
		"ssh-rsa AAAA \x1b[31m":               "is not an SSH public key",
	} {
		if _, err := customize.ParseSSHKeys("k.pub", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
