package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// maxName bounds a repository's name, in bytes.
const maxName = 255

// nameRegexp is a repository's name (OCI distribution-spec 1.1, "Pulling
// manifests"). No element of it is "." or "..".
var nameRegexp = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func isName(name string) bool { return len(name) <= maxName && nameRegexp.MatchString(name) }

// store finds the layouts.
type store struct {
	dir      string
	single   string // the only repository's name, or ""
	readOnly bool

	// maxRemembered is the constant, smaller in tests.
	maxRemembered int64

	mu         sync.Mutex // of all below, and of repositories
	open       map[string]*repository
	remembered int64 // by those that are open, in bytes
}

// repository is a layout that is held, so that nobody removes blobs on which
// no manifest was put yet.
type repository struct {
	name    string
	layout  *registry.Layout
	release func() error
	// writing is held to change index.json: whoever waits for the file's lock
	// comes in no order.
	writing sync.Mutex

	// Guarded by store.mu.
	users int
	used  time.Time
	// remembered is what its layout remembered when it was used last.
	remembered int64
	gone       bool // out of the map; the last user lets go of it
}

func newStore(dir string, opts Options) (*store, error) {
	s := &store{dir: dir, readOnly: opts.ReadOnly, maxRemembered: maxRemembered, open: map[string]*repository{}}
	if opts.Name != "" && !isName(opts.Name) {
		return nil, &NameError{opts.Name}
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && !opts.ReadOnly {
		// Only this one: more is a mistyped path.
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		info, err = os.Stat(dir)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &registry.LayoutError{Path: dir, Err: errors.New("is not a folder")}
	}
	if !isLayout(dir) {
		if opts.Name != "" {
			return nil, &registry.LayoutError{Path: dir, Err: errors.New("is not an OCI image layout: the repositories in it have their folders' names")}
		}
		return s, nil
	}
	if _, err := registry.OpenLayout(dir); err != nil {
		return nil, err
	}
	if s.single = opts.Name; s.single == "" {
		s.single, err = nameOf(dir)
	}
	return s, err
}

// NameError says that something cannot be a repository's name.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%q cannot be a repository's name: lower-case letters and digits, with single '.', '_' or '-' between them, and '/'", e.Name)
}

// nameOf makes a repository's name of a folder's.
func nameOf(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	base := filepath.Base(abs)
	if name := strings.ToLower(base); isName(name) {
		return name, nil
	}
	return "", &NameError{base}
}

func isLayout(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, ocispec.ImageLayoutFile)) //nolint:gosec // path has checked the name
	return err == nil && info.Mode().IsRegular()
}

// path is the folder of a repository; forWriting tells more of one that there
// cannot be.
func (s *store) path(name string, forWriting bool) (string, error) {
	unknown := func(format string, args ...any) error {
		if forWriting {
			return fail(http.StatusForbidden, codeDenied, format, args...)
		}
		return nameUnknown(name)
	}
	if s.single != "" {
		if name != s.single {
			return "", unknown("the only repository is %s", s.single)
		}
		return s.dir, nil
	}
	local, err := filepath.Localize(name) // Windows has names that are none
	if err != nil {
		return "", nameInvalid(name)
	}
	// What lies in a layout is that layout's own.
	for parent := filepath.Dir(local); parent != "."; parent = filepath.Dir(parent) {
		if isLayout(filepath.Join(s.dir, parent)) {
			return "", unknown("%s is a repository: there can be none in it", filepath.ToSlash(parent))
		}
	}
	return filepath.Join(s.dir, local), nil
}

// use returns a repository, and what to call when it is not used any more. One
// that is not there is made if create is set.
func (s *store) use(ctx context.Context, name string, create bool) (*repository, func(), error) {
	dir, err := s.path(name, create)
	if err != nil {
		return nil, nil, err
	}
	if r := s.lookUp(name, isLayout(dir)); r != nil {
		return r, func() { s.leave(r) }, nil
	}
	layout, err := s.openLayout(dir, name, create) //nolint:contextcheck // making a folder waits for nobody
	if err != nil {
		return nil, nil, err
	}
	if !s.readOnly {
		if err := layout.Tidy(); err != nil {
			return nil, nil, err
		}
	}
	release, err := layout.Hold(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := s.add(&repository{name: name, layout: layout, release: release})
	return r, func() { s.leave(r) }, err
}

func (s *store) openLayout(dir, name string, create bool) (*registry.Layout, error) {
	if !create {
		if !isLayout(dir) {
			return nil, nameUnknown(name)
		}
		return registry.OpenLayout(dir)
	}
	layout, err := registry.NewLayout(dir)
	var occupied *registry.LayoutError
	if errors.As(err, &occupied) && !isLayout(dir) {
		return nil, fail(http.StatusForbidden, codeDenied, "%s cannot become a repository: its folder holds other things", name)
	}
	return layout, err
}

// lookUp finds a repository that is open. One whose folder was removed is
// forgotten.
func (s *store) lookUp(name string, there bool) *repository {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.open[name]
	if r == nil {
		return nil
	}
	if !there {
		s.drop(r)
		r.gone = true
		if r.users == 0 {
			_ = r.release() // of a file that is not there any more
		}
		return nil
	}
	r.users++
	return r
}

// add adds a repository, unless somebody was faster.
func (s *store) add(r *repository) (*repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if have := s.open[r.name]; have != nil {
		err = r.release()
		r = have
	}
	s.open[r.name] = r
	r.users++
	return r, err
}

func (s *store) leave(r *repository) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.users--
	r.used = time.Now()
	if !r.gone {
		s.account(r)
	} else if r.users == 0 {
		_ = r.release() // of a file that is not there any more
	}
}

// account bounds what the layouts remember: if it is too much all forget that
// nobody uses right now, but for the last one.
func (s *store) account(r *repository) {
	now := r.layout.Remembered()
	s.remembered += now - r.remembered
	r.remembered = now
	if s.remembered <= s.maxRemembered {
		return
	}
	for _, other := range s.open {
		if other != r && other.users == 0 && other.remembered > 0 {
			other.layout.Forget()
			s.remembered -= other.remembered
			other.remembered = 0
		}
	}
}

// drop forgets a repository.
func (s *store) drop(r *repository) {
	delete(s.open, r.name)
	s.remembered -= r.remembered
}

// expire lets go of the layouts that were not used since.
func (s *store) expire(since time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, r := range s.open {
		if r.users == 0 && r.used.Before(since) {
			s.drop(r)
			err = errors.Join(err, r.release())
		}
	}
	return err
}

func (s *store) close() error { return s.expire(time.Now().Add(time.Hour)) }
