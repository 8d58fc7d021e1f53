package server

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

const (
	// maxLayouts is how many repositories Layouts finds, and maxFolders in how
	// many folders it looks.
	maxLayouts = 1000
	maxFolders = 20_000
)

// Served is a repository, and the folder of its layout.
type Served struct{ Name, Dir string }

// Layouts lists the repositories that are there, by name: at most a thousand.
func (s *Server) Layouts(ctx context.Context) ([]Served, error) {
	if s.store.single != "" {
		return []Served{{s.store.single, s.store.dir}}, nil
	}
	var out []Served
	looked := 0
	err := filepath.WalkDir(s.store.dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir // gone in the meantime, or nothing for others
		}
		if err != nil || !d.IsDir() || path == s.store.dir {
			return err
		}
		if looked++; looked > maxFolders || len(out) == maxLayouts {
			return fs.SkipAll
		}
		rel, err := filepath.Rel(s.store.dir, path)
		if err != nil {
			return err
		}
		// What a path of the API cannot name is nobody's repository.
		name := filepath.ToSlash(rel)
		if strings.Count(name, "/") >= maxName/2 || !isName(name) {
			return fs.SkipDir
		}
		if isLayout(path) {
			out = append(out, Served{name, path})
			return fs.SkipDir // what lies in a layout is that layout's own
		}
		return nil
	})
	return out, err
}
