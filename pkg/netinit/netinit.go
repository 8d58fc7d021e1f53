// Package netinit holds what runs inside the ESXi installer and on the host:
// busybox ash and Python 3.5 sources, embedded. There is no logic of Go's here.
//
// Scripts in pre, post and firstboot become sections of the kickstart, in the
// order of their names. The Python package esxi_netinit goes into our module
// and is found under /esxiimg, in the installer and, where Secure Boot is off,
// on the first boot. ESXi runs nothing of ours but through an interpreter.
package netinit

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
)

//go:embed files/pre/*.sh files/pre/*.py files/post/*.py files/firstboot/*.sh files/esxi_netinit/*.py
var files embed.FS

// ModuleRoot is the folder of the module's files on the host.
const ModuleRoot = "esxiimg"

// File is a file of our module.
type File struct {
	// Path is slash separated and without a leading slash, such as
	// esxiimg/esxi_netinit/main.py.
	Path string
	Data []byte
}

// Snippets has the folders pre, post and firstboot with scripts named
// NN-name.sh (busybox) or NN-name.py (Python).
func Snippets() fs.FS {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		panic(err) // "files" is a valid path
	}
	return sub
}

// Module returns the files of our module but the kickstart, sorted by path.
// The folders that they lie in are not among them.
func Module() ([]File, error) {
	const folder = "esxi_netinit"
	entries, err := files.ReadDir("files/" + folder)
	if err != nil {
		return nil, fmt.Errorf("netinit: %w", err)
	}
	out := make([]File, 0, len(entries))
	for _, entry := range entries {
		data, err := files.ReadFile(path.Join("files", folder, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("netinit: %w", err)
		}
		out = append(out, File{Path: path.Join(ModuleRoot, folder, entry.Name()), Data: data})
	}
	return out, nil
}
