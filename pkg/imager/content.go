package imager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/netinit"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// content is what we put on the volume besides the ISO's own files.
type content struct {
	modules   []plan.File // in the order in which they are loaded
	kickstart []byte      // nil where the helper carries its own
	settings  []byte      // what lies beside it; nil until finish
	warnings  []Warning
}

// Kickstart renders the kickstart that a profile asks for. Findings that make
// the installer stop are an *InputError, the others warnings.
func Kickstart(p Profile) ([]byte, []Warning, error) {
	builtin, err := kickstart.SnippetsFrom(netinit.Snippets())
	if err != nil {
		return nil, nil, fmt.Errorf("built-in snippets: %w", err)
	}
	text, findings, err := kickstart.Render(kickstart.Options{Kickstart: p.Kickstart, Builtin: builtin, User: p.Snippets})
	if err != nil {
		return nil, nil, &InputError{Input: "kickstart", Err: err, Advice: "change the script; \"esxi-img kickstart lint FILE\" tells more"}
	}
	if err := p.checkHost(findings); err != nil {
		return nil, nil, err
	}
	var warnings []Warning
	for _, f := range findings {
		switch f.Severity {
		case kickstart.Error:
			return nil, nil, &InputError{Input: at("kickstart", f.Line), Err: fmt.Errorf("%s: %s", f.Message, f.Reason), Advice: f.Cure}
		case kickstart.Warning:
			warnings = append(warnings, Warning{Input: "kickstart", Line: f.Line, Message: f.Message, Advice: f.Cure})
		case kickstart.Note:
		}
	}
	return text, warnings, nil
}

// InstallerModule returns the module with the host scripts: the same bytes for
// every ISO and every kickstart.
func InstallerModule() ([]byte, error) {
	entries, err := hostEntries()
	if err != nil {
		return nil, err
	}
	return packModule(entries)
}

// InstallerHelper returns the module with the host scripts and the kickstart
// in one, as the predecessor's installer-helper command does.
func InstallerHelper(ks []byte) ([]byte, error) {
	entries, err := hostEntries()
	if err != nil {
		return nil, err
	}
	return packModule(append(entries, tardisk.Entry{Path: KickstartPath, Data: ks}))
}

// kickstartModule returns the module that holds the kickstart and the settings
// for the host scripts: a pure function of both.
func kickstartModule(ks, settings []byte) ([]byte, error) {
	return packModule([]tardisk.Entry{
		{Path: KickstartPath, Data: ks},
		{Path: SettingsPath, Data: settings},
	})
}

// Encode is the text of SettingsPath.
func (s *HostSettings) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(s, "", " ")
	return append(data, '\n'), err
}

func hostEntries() ([]tardisk.Entry, error) {
	files, err := netinit.Module()
	if err != nil {
		return nil, fmt.Errorf("built-in host scripts: %w", err)
	}
	entries := make([]tardisk.Entry, len(files))
	for i, f := range files {
		entries[i] = tardisk.Entry{Path: f.Path, Data: f.Data}
	}
	return entries, nil
}

func packModule(entries []tardisk.Entry) ([]byte, error) {
	var b bytes.Buffer
	if err := tardisk.Write(&b, entries, ModuleTime); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// makeContent makes our modules and checks the user's.
func makeContent(p Profile) (*content, error) {
	c := &content{}
	ownKickstart, err := c.addHelper(p)
	if err != nil {
		return nil, err
	}
	if !ownKickstart {
		if err := c.addKickstart(p); err != nil {
			return nil, err
		}
	}
	for _, m := range p.Modules {
		if err := c.addUserModule(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// addHelper adds our module or the one that replaces it, and says whether that
// carries a kickstart of its own.
func (c *content) addHelper(p Profile) (ownKickstart bool, err error) {
	if p.Helper == nil {
		data, err := InstallerModule()
		if err != nil {
			return false, err
		}
		c.add(ModuleFile, data, plan.RoleModule)
		return false, nil
	}
	if err := tardisk.Check(bytes.NewReader(p.Helper)); err != nil {
		return false, &InputError{Input: "installer helper", Err: err}
	}
	entries, err := tardisk.Read(bytes.NewReader(p.Helper))
	if err != nil {
		return false, &InputError{Input: "installer helper", Err: err}
	}
	for _, e := range entries {
		if e.Path == KickstartPath {
			ownKickstart = true
		}
	}
	if ownKickstart && (p.Kickstart != nil || len(p.Snippets) > 0) {
		return false, &InputError{
			Input: "installer helper", Err: errors.New("carries a kickstart of its own, and another was given"),
			Advice: "leave one of the two out",
		}
	}
	if ownKickstart && !p.Host.isZero() {
		return false, &InputError{
			Input: "installer helper", Err: errors.New("carries a kickstart of its own, which options for the host do not reach"),
			Advice: "leave the options out, and put them into its kickstart",
		}
	}
	c.add(ModuleFile, p.Helper, plan.RoleModule)
	return ownKickstart, nil
}

// addKickstart renders the kickstart. Its module is empty until finish.
func (c *content) addKickstart(p Profile) error {
	text, warnings, err := Kickstart(p)
	if err != nil {
		return err
	}
	c.kickstart, c.warnings = text, append(c.warnings, warnings...)
	c.add(KickstartFile, nil, plan.RoleKickstart)
	return nil
}

// finish fills the kickstart's module, which tells the image's identifiers:
// so they can't be derived from it.
func (c *content) finish(ids identifiers, p Profile) error {
	for i, m := range c.modules {
		if m.Role != plan.RoleKickstart {
			continue
		}
		settings := hostSettings(ids, p)
		var err error
		if c.settings, err = settings.Encode(); err != nil {
			return err
		}
		data, err := kickstartModule(c.kickstart, c.settings)
		if err != nil {
			return err
		}
		c.modules[i] = memoryFile(m.Path, data, m.Role)
	}
	return nil
}

func (c *content) addUserModule(m Module) error {
	if err := tardisk.Check(bytes.NewReader(m.Data)); err != nil {
		return &InputError{Input: m.Name, Err: err}
	}
	name, err := tardisk.VolumeName(m.Name)
	if err != nil {
		return &InputError{Input: m.Name, Err: err}
	}
	for _, f := range c.modules {
		if f.Path == name {
			return &InputError{Input: m.Name, Err: fmt.Errorf("would be the module %s, which is there already", name), Advice: "rename the file"}
		}
	}
	c.add(name, m.Data, plan.RoleModule)
	return nil
}

func (c *content) add(name string, data []byte, role plan.Role) {
	c.modules = append(c.modules, memoryFile(name, data, role))
}

// checkClashes refuses a module that would take the place of an ISO's file,
// unless it is ours: then the ISO was made by us, and we make it anew.
func (c *content) checkClashes(files fs.FS) error {
	for _, m := range c.modules {
		if m.Path == ModuleFile || m.Path == KickstartFile {
			continue
		}
		if _, err := fs.Stat(files, m.Path); err == nil {
			return &InputError{Input: m.Path, Err: errors.New("is the name of a file of the ISO's too"), Advice: "rename the module"}
		}
	}
	return nil
}
