package customize

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/netinit"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// serialConsole are the options that put the installer's console on the first
// serial port.
var serialConsole = []string{"text", "nofb", "com1_baud=115200", "com1_Port=0x3f8", "tty2Port=com1", "gdbPort=none", "logPort=none"}

// ErrNoChange says that nothing was asked for.
var ErrNoChange = errors.New("nothing to change")

// Plan is the image as it is, planned from its file table.
func (i *Image) Plan() (*plan.Plan, error) {
	p, _, _, err := i.Layout.Plan(i.Files, i.Dirs)
	if err != nil {
		return nil, &imager.InputError{Err: fmt.Errorf("its disk cannot be planned again: %w", err), Advice: adviceDamaged}
	}
	return p, nil
}

// Customize plans the image with the changes. Nothing is read but small files.
// What can't be is an *imager.InputError; ErrNoChange without any change.
func (i *Image) Customize(c Changes, source Source) (*Result, error) {
	e := &editor{image: i, changes: c, files: slices.Clone(i.Files)}
	for _, cfg := range i.cfgs {
		same, err := bootcfg.Parse(cfg.Bytes())
		if err != nil {
			return nil, err
		}
		e.cfgs = append(e.cfgs, same)
	}
	for _, step := range []func() error{
		e.editKickstart, // 1. What runs in the installer, and the host scripts that it needs.
		e.editModules,   // 2. Other modules, which both copies of BOOT.CFG load.
		e.editBootCfgs,  // 3. The installer's kernel options.
		e.editHost,      // 4. What the image tells its hosts.
		e.editMetadata,  // 5. The metadata that it carries.
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(e.step.Edits) == 0 {
		return nil, ErrNoChange
	}
	// 6. The module that carries the most of it, with the record.
	e.step.Source = source
	if err := e.packKickstart(); err != nil {
		return nil, err
	}
	// 7. The disk.
	return e.plan()
}

// editor is one customising.
type editor struct {
	image   *Image
	changes Changes
	files   []plan.File
	cfgs    []*bootcfg.Config
	step    Step

	kickstart []byte // nil for the image's own
	settings  imager.HostSettings
	metadata  map[string][]byte // in the module
	drive     *disk.Drive       // the partition; nil without one
	onDrive   map[string][]byte // what it has, if that is another than before
	record    *Record
	entries   []tardisk.Entry // of the kickstart's module
	warnings  []imager.Warning
}

func (e *editor) edit(what, detail string) {
	e.step.Edits = append(e.step.Edits, Edit{what, detail})
}

func (e *editor) input(what, name string, data []byte) {
	e.step.Inputs = append(e.step.Inputs, digestOf(what, name, data))
}

// editKickstart renders the kickstart again if it changes; otherwise it makes
// sure that what the hosts are told comes to something.
func (e *editor) editKickstart() error {
	c := &e.changes
	own, have := kickstart.Parts(e.image.entry(imager.KickstartPath))
	builtin, err := kickstart.SnippetsFrom(netinit.Snippets())
	if err != nil {
		return err
	}
	users := slices.DeleteFunc(have, func(s kickstart.Snippet) bool { return contains(builtin, s) || contains(c.Snippets, s) })
	if c.Kickstart != nil {
		own = c.Kickstart.Data
		e.edit("kickstart", c.Kickstart.Name)
		e.input("kickstart", c.Kickstart.Name, c.Kickstart.Data)
	}
	for _, s := range c.Snippets {
		e.edit("script", string(s.Section)+"/"+s.Name)
		e.input("script", string(s.Section)+"/"+s.Name, []byte(s.Body))
	}
	text, warnings, err := imager.Kickstart(imager.Profile{Kickstart: own, Snippets: append(users, c.Snippets...), Host: c.Host})
	if err != nil || len(e.step.Edits) == 0 {
		return err
	}
	e.kickstart, e.warnings = text, warnings
	return e.refreshScripts()
}

func contains(list []kickstart.Snippet, s kickstart.Snippet) bool {
	return slices.ContainsFunc(list, func(other kickstart.Snippet) bool { return other.Section == s.Section && other.Name == s.Name })
}

// refreshScripts makes our module the one that belongs to the kickstart that
// was rendered: both come from this version. A helper of the user's stays.
func (e *editor) refreshScripts() error {
	n := e.find(imager.ModuleFile)
	if n < 0 {
		return nil
	}
	raw, err := e.image.read(imager.ModuleFile, tardisk.MaxArchive)
	if err != nil {
		return err
	}
	want, err := imager.InstallerModule()
	if err != nil || bytes.Equal(raw, want) {
		return err
	}
	entries, err := tardisk.Read(bytes.NewReader(raw))
	ours := err == nil && slices.ContainsFunc(entries, func(f tardisk.Entry) bool { return f.Path == netinit.ModuleRoot+"/esxi_netinit/__init__.py" })
	if !ours {
		return nil
	}
	e.files[n] = memoryFile(e.files[n].Path, want, plan.RoleModule)
	e.edit("host scripts", "of this version")
	return nil
}

func (e *editor) find(name string) int {
	return slices.IndexFunc(e.files, func(f plan.File) bool { return strings.EqualFold(f.Path, name) })
}

func memoryFile(name string, data []byte, role plan.Role) plan.File {
	return plan.File{Path: name, Size: int64(len(data)), Content: bytes.NewReader(data), Role: role}
}

// editModules puts modules before the kickstart's, so that another kickstart
// moves none of them.
func (e *editor) editModules() error {
	for _, m := range e.changes.Modules {
		fail := func(err error, advice string) error {
			return &imager.InputError{Input: m.Name, Err: err, Advice: advice}
		}
		if err := tardisk.Check(bytes.NewReader(m.Data)); err != nil {
			return fail(err, "")
		}
		name, err := tardisk.VolumeName(m.Name)
		if err != nil {
			return fail(err, "")
		}
		file := memoryFile(name, m.Data, plan.RoleModule)
		switch n := e.find(name); {
		case name == imager.ModuleFile || name == imager.KickstartFile:
			return fail(fmt.Errorf("would be the module %s, which is ours", name), "rename the file")
		case n >= 0 && e.files[n].Role != plan.RoleModule:
			return fail(fmt.Errorf("would be the module %s, which is a file of the installer's", name), "rename the file")
		case n >= 0:
			e.files[n] = file
		default:
			e.files = slices.Insert(e.files, e.find(imager.KickstartFile), file)
		}
		for _, cfg := range e.cfgs {
			if err := cfg.AppendModule("/" + strings.ToLower(name)); err != nil {
				return fail(err, "")
			}
		}
		e.edit("module", name)
		e.input("module", m.Name, m.Data)
	}
	return nil
}

func (e *editor) editBootCfgs() error {
	opts := slices.Clone(e.changes.KernelOpts)
	if e.changes.InstallerConsole {
		opts = append(opts, serialConsole...)
		e.edit("serial console", "of the installer")
	}
	var done []string // as the record has it
	for _, opt := range opts {
		name, remove := strings.CutPrefix(opt, "-")
		// The kickstart is where this package says.
		if key, _, _ := strings.Cut(name, "="); strings.EqualFold(key, "ks") {
			return &imager.InputError{Err: fmt.Errorf("kernel option %q: names the kickstart, which is in the image", opt), Advice: "give the kickstart with --kickstart"}
		}
		absent := remove
		for _, cfg := range e.cfgs {
			if remove {
				absent = !cfg.RemoveKernelOpt(name) && absent
			} else if err := cfg.AddKernelOpt(opt); err != nil {
				return &imager.InputError{Input: "kernel option " + opt, Err: err}
			}
		}
		if absent {
			opt += " (was not there)"
		}
		done = append(done, opt)
	}
	if n := len(e.changes.KernelOpts); n > 0 {
		e.edit("kernelopt", strings.Join(done[:n], " "))
	}
	for n, cfg := range e.cfgs {
		if bytes.Equal(cfg.Bytes(), e.image.cfgs[n].Bytes()) {
			continue
		}
		if err := e.judge(bootCfgs[n], cfg, e.image.cfgs[n]); err != nil {
			return err
		}
		at := e.find(bootCfgs[n])
		e.files[at] = memoryFile(e.files[at].Path, cfg.Bytes(), plan.RoleBootCfg)
	}
	return nil
}

// judge tells what the boot loader would say of a BOOT.CFG, and did not before.
func (e *editor) judge(name string, cfg, before *bootcfg.Config) error {
	old := map[string]bool{}
	for _, f := range before.Check() {
		old[f.Message] = true
	}
	for _, f := range cfg.Check() {
		switch {
		case f.Severity == bootcfg.SeverityError:
			return &imager.InputError{Input: name, Err: errors.New(f.Message), Advice: f.Cure}
		case !old[f.Message]:
			e.warnings = append(e.warnings, imager.Warning{Input: name, Line: f.Line, Message: f.Message, Advice: f.Cure})
		}
	}
	return nil
}

// editHost puts what is given over what the image tells its hosts.
func (e *editor) editHost() error {
	e.settings = e.image.settings
	to, from := &e.settings.HostOptions, e.changes.Host
	if from.RootHash != "" {
		to.RootHash = from.RootHash
		e.edit("root password", "") // neither the hash nor a digest of the file
	}
	if d := from.Install.Disk; d != nil {
		to.Install.Disk = d
		e.edit("install disk", d.String())
	}
	for _, flag := range []struct {
		what string
		to   **bool
		from *bool
	}{
		{"overwritevmfs", &to.Install.OverwriteVMFS, from.Install.OverwriteVMFS},
		{"overwritevsan", &to.Install.OverwriteVSAN, from.Install.OverwriteVSAN},
	} {
		if flag.from != nil {
			*flag.to = flag.from
			e.edit(flag.what, fmt.Sprint(*flag.from))
		}
	}
	if len(from.KernelOpts) > 0 {
		to.KernelOpts = addOptions(to.KernelOpts, from.KernelOpts)
		e.edit("host kernelopt", strings.Join(from.KernelOpts, " "))
	}
	if from.SerialConsole {
		to.SerialConsole = true
		e.edit("serial console", "of the installed host")
	}
	if required := e.changes.MetadataRequired; required != nil {
		e.settings.Metadata = "optional"
		if *required {
			e.settings.Metadata = "required"
		}
		e.edit("metadata", e.settings.Metadata)
	}
	if err := to.Check(); err != nil {
		return &imager.InputError{Err: err, Advice: "change the option, or leave it out"}
	}
	return nil
}

// addOptions replaces options of the same name, and adds the others.
func addOptions(have, more []string) []string {
	out := slices.Clone(have)
	name := func(opt string) string { key, _, _ := strings.Cut(opt, "="); return key }
	for _, opt := range more {
		n := slices.IndexFunc(out, func(old string) bool { return name(old) == name(opt) })
		if n < 0 {
			out = append(out, opt)
		} else {
			out[n] = opt
		}
	}
	return out
}

func (e *editor) editMetadata() error {
	c := &e.changes
	if err := e.carry(); err != nil {
		return err
	}
	if c.Drive != nil {
		e.edit("config drive", fmt.Sprintf("%s, %d files", c.Drive.Name, len(c.Drive.Files)))
		for _, name := range slices.Sorted(maps.Keys(c.Drive.Files)) {
			e.input("config drive", name, c.Drive.Files[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		e.edit("metadata", path.Base(name))
		e.input("metadata", c.Files[name].Name, c.Files[name].Data)
	}
	if c.Hostname != "" {
		e.edit("host name", c.Hostname)
	}
	if n := len(c.SSHKeys); n > 0 {
		e.edit("SSH keys", fmt.Sprint(n))
	}
	return nil
}

// packKickstart makes the module with kickstart, settings, metadata and record.
// What else lies there stays.
func (e *editor) packKickstart() error {
	text := e.kickstart
	if text == nil {
		text = e.image.entry(imager.KickstartPath)
	}
	settings, err := e.settings.Encode()
	if err != nil {
		return err
	}
	record, recordText, err := e.image.Record.with(e.step)
	if err != nil {
		return err
	}
	e.record = record
	e.entries = []tardisk.Entry{{Path: imager.KickstartPath, Data: text}, {Path: imager.SettingsPath, Data: settings}, {Path: imager.RecordPath, Data: recordText}}
	for _, old := range e.image.entries {
		known := old.Path == imager.KickstartPath || old.Path == imager.SettingsPath || old.Path == imager.RecordPath
		if !known && !strings.HasPrefix(old.Path, imager.MetadataFolder+"/") {
			e.entries = append(e.entries, old)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.metadata)) {
		e.entries = append(e.entries, tardisk.Entry{Path: imager.MetadataFolder + "/" + name, Data: e.metadata[name]})
	}
	var tar bytes.Buffer
	if err := tardisk.Write(&tar, e.entries, imager.ModuleTime); err != nil {
		return &imager.InputError{Input: imager.KickstartFile, Err: err, Advice: "give fewer or shorter files"}
	}
	n := e.find(imager.KickstartFile)
	// Cloned, as the buffer has up to twice the room: of many hosts' folder all
	// such modules are in memory.
	e.files[n] = memoryFile(e.files[n].Path, bytes.Clone(tar.Bytes()), plan.RoleKickstart)
	return nil
}

// plan lays out the disk: on a volume of the same size if that serves, else on
// a larger one.
func (e *editor) plan() (*Result, error) {
	i := e.image
	layout := i.Layout
	layout.Drive = e.drive
	p, planned, _, err := layout.Plan(e.files, i.Dirs)
	var size *fat32.SizeError
	if errors.As(err, &size) {
		layout.VolumeSize, layout.Headroom = 0, headroom
		p, planned, _, err = layout.Plan(e.files, i.Dirs)
	}
	if err != nil {
		return nil, &imager.InputError{Err: fmt.Errorf("its disk cannot be planned again: %w", err)}
	}
	r := &Result{
		Plan: p, Layout: planned, Record: e.record, Files: e.fileChanges(), Grown: p.Size - i.Size,
		Warnings: append(slices.Clone(i.Warnings), e.warnings...), offsets: map[string]int64{},
	}
	// A copy has a file where the plan of the image says: that may be elsewhere
	// on a volume that another tool has written to.
	as, err := i.Plan()
	if err != nil {
		return nil, err
	}
	for n := range i.Files {
		if f := &i.Files[n]; f.Role == plan.RolePayload && !i.fragmented && as.Files[n].Offset == f.Offset {
			r.offsets[f.Path] = f.Offset
		}
	}
	return r, nil
}

// fileChanges compares the files, and those in the kickstart's module.
func (e *editor) fileChanges() []FileChange {
	var out []FileChange
	for n := range e.files {
		f := &e.files[n]
		data, ours := f.Content.(*bytes.Reader)
		if !ours {
			continue
		}
		at := e.image.find(f.Path)
		if at < 0 {
			out = append(out, FileChange{Path: f.Path, Change: "added", Size: f.Size})
			continue
		}
		before, err := e.image.read(f.Path, tardisk.MaxArchive)
		if now, ok := contentOf(data); err == nil && ok && bytes.Equal(before, now) {
			continue
		}
		out = append(out, FileChange{f.Path, "changed", e.image.Files[at].Size, f.Size})
		if f.Role == plan.RoleKickstart {
			out = append(out, compareEntries(f.Path, e.image.entries, e.entries)...)
		}
	}
	return append(out, e.driveChanges()...)
}

func contentOf(r *bytes.Reader) ([]byte, bool) {
	data := make([]byte, r.Size())
	n, _ := r.ReadAt(data, 0)
	return data, n == len(data)
}

func compareEntries(module string, before, now []tardisk.Entry) []FileChange {
	old := map[string][]byte{}
	for _, e := range before {
		old[e.Path] = e.Data
	}
	var out []FileChange
	for _, e := range now {
		c := FileChange{Path: module + "/" + e.Path, Change: "changed", Before: int64(len(old[e.Path])), Size: int64(len(e.Data))}
		data, there := old[e.Path]
		delete(old, e.Path)
		switch {
		case !there:
			c.Change = "added"
		case bytes.Equal(data, e.Data):
			continue
		}
		out = append(out, c)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		out = append(out, FileChange{Path: module + "/" + name, Change: "removed", Before: int64(len(old[name]))})
	}
	return out
}
