package kickstart

import (
	"fmt"
	"regexp"
	"strings"
)

// checkInstall looks at install, upgrade and installorupgrade as a whole.
func checkInstall(l *linter, c command) {
	disk := c.has("--disk") || c.has("--drive")
	first := c.has("--firstdisk")
	booted := c.has("--diskBootedFrom")
	switch {
	case disk && first:
		l.conflict(c, "--disk", "--firstdisk")
	case booted && (disk || first):
		l.conflict(c, "--diskBootedFrom", "--disk and --firstdisk")
	case c.has("--disk") && c.has("--drive"):
		l.conflict(c, "--disk", "--drive, its old name,")
	case !disk && !first && !booted:
		l.add(c.line, Error, "disk-missing", fmt.Sprintf("%s has neither --disk nor --firstdisk", c.name), "the installer stops: it doesn't know where to", "Add --firstdisk=local, or --disk=NAME")
	}
	if c.has("--ignoressd") && disk {
		l.conflict(c, "--ignoressd", "--disk")
	}
	preserve := c.has("--preservevmfs")
	for _, other := range []string{"--overwritevmfs", "--novmfsondisk"} {
		if preserve && c.has(other) {
			l.conflict(c, other, "--preservevmfs")
		}
	}
	if c.name == "install" && !preserve && !c.has("--overwritevmfs") {
		l.add(c.line, Warning, "vmfs", "install has neither --overwritevmfs nor --preservevmfs",
			"the installer stops if the disk carries a VMFS datastore, such as that of an ESXi before", "Add --overwritevmfs to erase it, or --preservevmfs to keep it")
	}
	if c.has("--overwritevsan") {
		l.add(c.line, Warning, "overwritevsan", "--overwritevsan is only for disks that vSAN has claimed", "the installer stops on any other disk", "Remove it unless every host's disk was in a vSAN")
	}
	if c.has("--repartitionsystemdisk") && !c.has("--systemdisk") && !c.has("--systemDisk") {
		l.add(c.line, Warning, "systemdisk", "--repartitionsystemdisk has no effect without --systemdisk", "it is about the disk that --systemdisk names", "Add --systemdisk=NAME, or remove it")
	}
	if v, ok := c.value("--disk"); ok {
		checkDiskName(l, c, v)
	}
}

func (l *linter) conflict(c command, a, b string) {
	l.add(c.line, Error, "option-conflict", fmt.Sprintf("%s can't be used with %s", a, b), "the installer stops, or takes one of them without a word", "Remove one")
}

func checkDiskName(l *linter, c command, name string) {
	if strings.HasPrefix(name, "/dev/sd") || strings.HasPrefix(name, "/dev/nvme") || strings.HasPrefix(name, "sd") {
		l.add(c.line, Error, "disk-name", fmt.Sprintf("--disk=%.60s is a name of Linux's", name), "ESXi doesn't know it, and the installer stops", "Use a name such as mpx.vmhba0:C0:T0:L0, naa.6000…, eui.… or t10.…, with or without /vmfs/devices/disks/")
	}
}

// checkFirstdisk looks at a list of disk filters.
func checkFirstdisk(l *linter, c command, name, value string) {
	var own []string
	for filter := range strings.SplitSeq(value, ",") {
		filter = strings.TrimSpace(filter)
		switch filter {
		case "":
			l.add(c.line, Error, "firstdisk", fmt.Sprintf("%s has an empty filter", name), "the installer looks for a disk without a vendor", "Separate filters with single commas, and quote what has blanks")
		case "local", "localesx", "usb":
		case "remote", "remoteesx", "esx":
			if c.has("--overwritevmfs") {
				l.add(c.line, Warning, "firstdisk-remote", fmt.Sprintf("%s=%s with --overwritevmfs may erase a disk of a SAN", name, filter),
					"remote disks are taken in the order in which they are found, datastores that other hosts use among them", "Use local, or name the disk with --disk")
			}
		default:
			if low := strings.ToLower(filter); low == "local" || low == "localesx" || low == "remote" || low == "remoteesx" || low == "esx" || low == "usb" {
				l.add(c.line, Error, "firstdisk", fmt.Sprintf("%s=%s is in upper case", name, filter), "the installer takes it for a vendor, model or driver", fmt.Sprintf("Write %s", low))
				continue
			}
			own = append(own, filter)
		}
	}
	if len(own) > 0 {
		l.add(c.line, Note, "firstdisk", fmt.Sprintf("%s: %.100s are taken for vendors, models or drivers", name, strings.Join(own, ", ")),
			"the first filter with a hit wins; one without a hit is skipped without a word, and if none hits the installer stops", "")
	}
}

func checkClearpart(l *linter, c command) {
	switch {
	case c.has("--firstdisk") && (c.has("--drives") || c.has("--alldrives") || c.has("--ignoredrives")):
		l.conflict(c, "--firstdisk", "--drives, --alldrives or --ignoredrives")
	case c.has("--drives") && (c.has("--alldrives") || c.has("--ignoredrives")):
		l.conflict(c, "--drives", "--alldrives or --ignoredrives")
	case !c.has("--firstdisk") && !c.has("--drives") && !c.has("--alldrives") && !c.has("--ignoredrives"):
		l.add(c.line, Error, "disk-missing", "clearpart doesn't say which disks", "the installer stops", "Add --firstdisk=local or --drives=NAME")
	}
	if (c.has("--alldrives") || c.has("--ignoredrives")) && c.has("--overwritevmfs") {
		l.add(c.line, Warning, "clearpart-all", "clearpart erases more than one disk, datastores included", "remote disks are among them", "Name the disks with --drives")
	}
}

func checkPart(l *linter, c command) {
	disk := c.has("--ondisk") || c.has("--ondrive")
	switch {
	case disk && c.has("--onfirstdisk"):
		l.conflict(c, "--ondisk", "--onfirstdisk")
	case !disk && !c.has("--onfirstdisk"):
		l.add(c.line, Error, "disk-missing", fmt.Sprintf("%s has neither --ondisk nor --onfirstdisk", c.name), "the installer stops", "Add --ondisk=NAME")
	}
}

var serial = regexp.MustCompile(`^[A-Z0-9]{5}(-[A-Z0-9]{5}){4}$`)

func checkSerial(l *linter, c command, name, value string) {
	if !serial.MatchString(value) {
		l.add(c.line, Error, "serial", fmt.Sprintf("%s is not a license key", name), "the installer stops on what is not five groups of five upper-case letters and digits", "Write XXXXX-XXXXX-XXXXX-XXXXX-XXXXX")
	}
}

func needSerial(l *linter, c command) {
	if !c.has("--esx") {
		l.add(c.line, Error, "argument-missing", fmt.Sprintf("%s has no --esx", c.name), "the installer stops here", "Write --esx=XXXXX-XXXXX-XXXXX-XXXXX-XXXXX")
	}
}
