package esxitest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// addBootFiles adds what starts the installer: BOOT.CFG in its two places,
// the BIOS loaders, the EFI programs and the El Torito images.
func (m *medium) addBootFiles() {
	cfg := literal([]byte(m.bootCfgText()))
	m.put("BOOT.CFG", cfg)
	m.put("EFI/BOOT/BOOT.CFG", cfg)
	program := m.efiProgram(m.efiPath(), m.scaled(6<<10, 240<<10))
	if m.efi != nil {
		program = literal(m.efi)
	}
	m.put(m.efiPath(), program)
	m.put("EFI/BOOT/SAFEBOOT.EFI", m.efiProgram("SAFEBOOT.EFI", m.scaled(5<<10, 210<<10)))
	if m.release.Crypto64 {
		m.put("EFI/BOOT/CRYPTO64.EFI", m.efiProgram("CRYPTO64.EFI", m.scaled(5<<10, 900<<10)))
	}
	m.put("EFIBOOT.IMG", literal(floppy(m.scaled(64<<10, 1440<<10))))
	if m.arch != AMD64 {
		return
	}
	m.put("ISOLINUX.BIN", m.noise("ISOLINUX.BIN", 24<<10))
	m.put("ISOLINUX.CFG", literal([]byte("DEFAULT menu.c32\nPROMPT 0\nTIMEOUT 80\nMENU TITLE "+m.release.Profile+
		"\nLABEL install\n  KERNEL mboot.c32\n  APPEND -c boot.cfg\nLABEL disk\n  LOCALBOOT 0x80\n")))
	m.put("MBOOT.C32", m.noise("MBOOT.C32", m.scaled(4<<10, 96<<10)))
	m.put("MENU.C32", m.noise("MENU.C32", m.scaled(4<<10, 60<<10)))
	m.put("SAFEBOOT.C32", m.noise("SAFEBOOT.C32", m.scaled(4<<10, 64<<10)))
}

func (m *medium) bootCfgText() string {
	modules := make([]string, 0, len(m.release.Modules))
	for _, name := range m.release.Modules {
		modules = append(modules, "/"+name)
	}
	text := fmt.Sprintf("bootstate=0\ntitle=Loading ESXi installer\ntimeout=5\nprefix=\nkernel=/b.b00\nkernelopt=%s\nmodules=%s\nbuild=%s\nupdated=0\n",
		m.release.KernelOpt, strings.Join(modules, " --- "), m.release.BootBuild)
	for _, f := range m.bootCfg {
		text = f(text)
	}
	return text
}

// efiProgram is noise behind the headers of a PE32+ EFI application without
// sections: enough to tell the machine, nothing that runs.
func (m *medium) efiProgram(name string, size int64) content {
	const peOffset = 0x80
	h := make([]byte, 0x200)
	copy(h, "MZ")
	binary.LittleEndian.PutUint32(h[0x3c:], peOffset)
	copy(h[peOffset:], "PE\x00\x00")
	machine := uint16(0x8664)
	if m.arch == ARM64 {
		machine = 0xaa64
	}
	binary.LittleEndian.PutUint16(h[peOffset+4:], machine)
	binary.LittleEndian.PutUint16(h[peOffset+20:], 0xf0)    // size of the optional header
	binary.LittleEndian.PutUint16(h[peOffset+22:], 0x22)    // executable, large addresses
	binary.LittleEndian.PutUint16(h[peOffset+24:], 0x20b)   // PE32+
	binary.LittleEndian.PutUint16(h[peOffset+24+68:], 0x0a) // subsystem: EFI application
	return join(literal(h), m.noise(name, size-int64(len(h))))
}

// floppy is an empty FAT12 volume labelled EFIBOOT. (Microsoft FAT
// specification, sections 3.1 to 3.3.)
func floppy(size int64) []byte {
	const sector, fatSectors, rootEntries = 512, 9, 112
	b := make([]byte, size)
	copy(b, "\xeb\x3c\x90ESXITEST")
	le := binary.LittleEndian
	le.PutUint16(b[11:], sector)
	b[13] = 1 // sectors a cluster
	le.PutUint16(b[14:], 1)
	b[16] = 2 // FATs
	le.PutUint16(b[17:], rootEntries)
	le.PutUint16(b[19:], uint16(size/sector)) //nolint:gosec // 2880 at most
	b[21] = 0xf0
	le.PutUint16(b[22:], fatSectors)
	le.PutUint16(b[24:], 18)
	le.PutUint16(b[26:], 2)
	b[38] = 0x29
	le.PutUint32(b[39:], 0xE5C1B007)
	copy(b[43:], "EFIBOOT    FAT12   ")
	copy(b[510:], "\x55\xaa")
	for i := range 2 {
		copy(b[(1+i*fatSectors)*sector:], "\xf0\xff\xff")
	}
	root := b[(1+2*fatSectors)*sector:]
	copy(root, "EFIBOOT    \x08")
	return b
}

// addUpgrade adds what vSphere Update Manager reads.
func (m *medium) addUpgrade() {
	r := m.release
	m.put("UPGRADE/METADATA.XML", literal([]byte(fmt.Sprintf(
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<vum>\n  <product>\n    <esxName>VMware ESXi</esxName>\n    <esxVersion>%s</esxVersion>\n    <build>%s</build>\n  </product>\n</vum>\n",
		r.Version, r.Build))))
	m.put("UPGRADE/PROFILE.XML", literal(marshal(m.profile())))
	m.put("UPGRADE/PRECHECK.PY", literal([]byte("# A stand-in for the upgrade's checks.\n")))
	m.put("UPGRADE/PREP.PY", literal([]byte("# A stand-in for the upgrade's preparations.\n")))
	m.put("UPGRADE/METADATA.ZIP", m.zipOf("vmware.zip", m.scaled(1<<10, 60<<10)))
	m.put("UPGRADE/ESXIMAGE.ZIP", m.zipOf("esximage.bin", m.scaled(2<<10, 900<<10)))
}

// zipOf is a zip file with one stored file of noise.
func (m *medium) zipOf(name string, size int64) content {
	data := File{Size: size, Content: m.noise(name, size)}.Bytes()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	entry, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: m.release.Date})
	if err != nil {
		panic(err)
	}
	if _, err := entry.Write(data); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return literal(b.Bytes())
}

// addTexts adds the texts in the root, and to a full-size medium so many that
// it has FullFiles files.
func (m *medium) addTexts() {
	line := m.release.Profile + ": synthetic, for tests.\n"
	m.put("README.TXT", literal([]byte(line)))
	m.put("LICENSE.TXT", literal([]byte(strings.Repeat(line, 40))))
	if m.release.DiscInfo {
		m.put(".DISCINFO", literal([]byte(fmt.Sprintf("Version: %s\nBuild: %s\nesx: %s-%s\n",
			m.release.Version, m.release.Build, m.release.Version, m.release.Build))))
	}
	for i := 1; m.size == Full && len(m.files) < FullFiles; i++ {
		m.put(fmt.Sprintf("OSS_%02d.TXT", i), literal([]byte(strings.Repeat(line, i*37))))
	}
}
