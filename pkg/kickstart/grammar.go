package kickstart

// How an option takes a value.
type valueKind int

const (
	noValue       valueKind = iota
	needsValue              // without one the installer ignores the option
	optionalValue           // without one it has a default
)

// option is what is known of an option of a command.
type option struct {
	value valueKind
	// check is called with the value, where there is one.
	check func(l *linter, c command, name, value string)
	// once: given twice it is an error, not a warning.
	once bool
	// old: the installer knows the option but does nothing with it.
	old bool
}

// spec is what is known of a command.
type spec struct {
	options map[string]option
	// argument names the word that must follow, "" for none.
	argument string
	// words that were arguments once and are ignored now.
	oldWords []string
	// many: the command may be given more than once.
	many bool
	// check is called with the whole command after its options.
	check func(l *linter, c command)
}

// canonical gives the name under which an alias is known.
func canonical(name string) string {
	switch name {
	case "accepteula":
		return "vmaccepteula"
	case "serialnum":
		return "vmserialnum"
	case "partition":
		return "part"
	case "include":
		return "%include"
	}
	return name
}

// lookUp finds a command by its canonical name. The sets are those of ESXi 6.5
// to 9.0; what came late is taken for known everywhere.
func lookUp(name string) (spec, bool) {
	switch name {
	case "vmaccepteula", "dryrun", "paranoid", "partitionembed":
		return spec{}, true
	case "install", "installorupgrade", "upgrade":
		return installSpec(name), true
	case "rootpw":
		return spec{options: map[string]option{"--iscrypted": {}}, argument: "password", check: checkRootpw}, true
	case "network":
		return networkSpec(), true
	case "keyboard":
		return spec{argument: "keyboard layout"}, true
	case "vmserialnum":
		return spec{options: map[string]option{"--esx": {value: needsValue, check: checkSerial}}, check: needSerial}, true
	case "reboot":
		return spec{options: map[string]option{"--noeject": {}}}, true
	case "clearpart":
		return clearpartSpec(), true
	case "part":
		return partSpec(), true
	case "%include":
		return spec{argument: "path", many: true}, true
	case "%pre", "%firstboot":
		return spec{options: map[string]option{"--interpreter": {value: needsValue, check: checkInterpreter}}, many: true}, true
	case "%post":
		return spec{options: map[string]option{
			"--interpreter":   {value: needsValue, check: checkInterpreter},
			"--timeout":       {value: needsValue, check: checkTimeout},
			"--ignorefailure": {value: needsValue, check: checkBool},
		}, many: true}, true
	}
	return spec{}, false
}

// ignored tells whether the installer knows a command only to say that it does
// nothing: those of ESX 3 and 4, and of Red Hat's kickstart.
func ignored(name string) bool {
	switch name {
	case "auth", "authconfig", "autopart", "autostep", "bootloader", "cmdline", "device", "deviceprobe",
		"esxlocation", "firewall", "firewallport", "firstboot", "harddrive", "ignoredisk", "interactive",
		"lang", "langsupport", "lilo", "lilocheck", "logvol", "mouse", "raid", "skipx", "text", "timezone",
		"virtualdisk", "vnc", "volgroup", "xconfig", "xdisplay", "vmlicense", "zerombr",
		"%packages", "%vmlicense_text":
		return true
	}
	return false
}

func installSpec(name string) spec {
	disk := option{value: needsValue, once: true}
	s := spec{
		options: map[string]option{
			"--disk":                 disk,
			"--drive":                disk,
			"--firstdisk":            {value: optionalValue, once: true, check: checkFirstdisk},
			"--overwritevmfs":        {},
			"--ignoreprereqwarnings": {},
			"--ignoreprereqerrors":   {},
			// ESXi 7.0 and later.
			"--forceunsupportedinstall": {},
		},
		oldWords: []string{"cdrom", "usb", "nfs", "url"},
		check:    checkInstall,
	}
	add := func(o option, names ...string) {
		for _, n := range names {
			s.options[n] = o
		}
	}
	if name != "upgrade" {
		add(option{}, "--overwritevsan", "--repartitionsystemdisk")
		add(option{old: true, value: optionalValue}, "--server", "--dir")
		// The documentation spells it both ways.
		add(option{value: needsValue}, "--systemdisk", "--systemDisk", "--dpupcislots", "--dpuPciSlots")
	}
	switch name {
	case "install":
		add(option{}, "--preservevmfs", "--novmfsondisk", "--ignoressd")
	case "installorupgrade":
		add(option{}, "--forcemigrate", "--preservevmfs", "--novmfsondisk")
	case "upgrade":
		add(option{}, "--forcemigrate", "--diskBootedFrom", "--deletecosvmdk")
		add(option{value: needsValue}, "--savebootbank", "--bootDiskMarker")
	}
	return s
}

func networkSpec() spec {
	return spec{
		options: map[string]option{
			"--bootproto":      {value: needsValue, check: checkBootproto},
			"--device":         {value: needsValue, check: checkDevice},
			"--ip":             {value: needsValue, check: checkAddress},
			"--netmask":        {value: needsValue, check: checkNetmask},
			"--gateway":        {value: needsValue, check: checkAddress},
			"--nameserver":     {value: needsValue, check: checkNameservers},
			"--nodns":          {},
			"--hostname":       {value: needsValue, check: checkHostname},
			"--vlanid":         {value: needsValue, check: checkVLAN},
			"--addvmportgroup": {value: needsValue, check: checkBool},
		},
		check: checkNetwork,
	}
}

func clearpartSpec() spec {
	return spec{
		options: map[string]option{
			"--all":           {},
			"--alldrives":     {},
			"--drives":        {value: needsValue, once: true},
			"--ignoredrives":  {value: needsValue},
			"--firstdisk":     {value: optionalValue, once: true, check: checkFirstdisk},
			"--overwritevmfs": {},
			"--initlabel":     {old: true},
		},
		many:  true,
		check: checkClearpart,
	}
}

func partSpec() spec {
	return spec{
		options: map[string]option{
			"--ondisk":      {value: needsValue, once: true},
			"--ondrive":     {value: needsValue, once: true},
			"--onfirstdisk": {value: optionalValue, once: true, check: checkFirstdisk},
			"--size":        {old: true, value: optionalValue},
			"--grow":        {old: true},
			"--maxsize":     {old: true, value: optionalValue},
			"--fstype":      {old: true, value: optionalValue},
		},
		argument: "datastore name",
		many:     true,
		check:    checkPart,
	}
}
