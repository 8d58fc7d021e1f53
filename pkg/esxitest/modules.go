package esxitest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// expand reads a list of modules: names without a suffix end in .v00, and
// "lsi_msgp*3" stands for lsi_msgp.v00, .v01 and .v02.
func expand(list string) []string {
	var out []string
	for _, name := range strings.Fields(list) {
		stem, count := name, 1
		if s, n, ok := strings.Cut(name, "*"); ok {
			stem, count = s, int(n[0]-'0')
		}
		if strings.Contains(stem, ".") {
			out = append(out, stem)
			continue
		}
		for i := range count {
			out = append(out, fmt.Sprintf("%s.v%02d", stem, i))
		}
	}
	return out
}

// modules802 is the stock list of ESXi 8.0 Update 2.
func modules802() []string {
	return expand(`jumpstrt.gz useropts.gz features.gz k.b00 uc_intel.b00 uc_amd.b00 uc_hygon.b00 procfs.b00
		vmx vim tpm sb s atlantic bcm_mpi3 bnxtnet bnxtroce brcmfcoe cndi_igc dwi2c elxiscsi elxnet i40en iavmd
		icen igbn intelgpi ionic_cl ionic_en irdman iser ixgben lpfc lpnic lsi_mr3 lsi_msgp*3 mtip32xx ne1000
		nenic nfnic nhpsa nipmi nmlx5_cc nmlx5_co nmlx5_rd ntg3 nvme_pci nvmerdma nvmetcp nvmxnet3*2 pvscsi qcnic
		qedentv qedrntv qfle3 qfle3f qfle3i qflge rdmahl rste sfvmk smartpqi vmkata vmksdhci vmkusb vmw_ahci
		bmcal clusters crx drivervm elx_esx_ btldr esx_dvfi esx_ui esxupdt tpmesxup weaselin esxio_co infravis
		loadesx lsuv2_hp lsuv2_in lsuv2_ls lsuv2_nv lsuv2_oe*2 lsuv2_sm native_m qlnative trx vdfs vds_vsip
		vmware_e hbrsrv vsan vsanheal vsanmgmt tools.t00 xorg gc imgdb.tgz basemisc.tgz resvibs.tgz esxiodpt.tgz
		imgpayld.tgz`)
}

// modules700 has the 89 modules of ESXi 7.0.0's count; the choice is ours.
func modules700() []string {
	return expand(`jumpstrt.gz useropts.gz features.gz k.b00 chardevs.b00 user.b00 procfs.b00 uc_intel.b00
		uc_amd.b00 uc_hygon.b00 vmx vim sb s bnxtnet bnxtroce brcmfcoe brcmnvme elxiscsi elxnet i40enu i40iwn
		iavmd igbn iser ixgben lpfc lpnic lsi_mr3 lsi_msgp*3 mtip32xx ne1000 nenic nfnic nhpsa nmlx4_co nmlx4_en
		nmlx4_rd nmlx5_co nmlx5_rd ntg3 nvme_pci nvmerdma nvmxnet3*2 pvscsi qcnic qedentv qedrntv qfle3 qfle3f
		qfle3i qflge rste sfvmk smartpqi vmkata vmkfcoe vmkplexe vmkusb vmw_ahci crx elx_esx_ btldr esx_dvfi esx_ui esxupdt
		tpmesxup weaselin loadesx lsuv2_hp lsuv2_in lsuv2_ls lsuv2_nv lsuv2_oe lsuv2_sm native_m qlnative vdfs
		vmware_e vsan vsanheal vsanmgmt tools.t00 xorg imgdb.tgz imgpayld.tgz`)
}

// modules67U2 has the 158 modules of ESXi 6.7 Update 2's count, with the many
// collisions of its Linux drivers; the choice is ours.
func modules67U2() []string {
	return expand(`jumpstrt.gz useropts.gz features.gz k.b00 chardevs.b00 user.b00 procfs.b00 uc_intel.b00
		uc_amd.b00 vmx vim sb s ata_liba ata_pata*8 block_cc bnxtnet bnxtroce brcmfcoe char_ran ehci_ehc elxiscsi
		elxnet hid_hid i40en iavmd igbn ima_qla4 ipmi_ipm*3 iser ixgben lpfc lpnic lsi_mr3 lsi_msgp*3 misc_cni
		misc_dri mtip32xx ne1000 nenic net_bnx2*2 net_cdc_ net_cnic net_e100*2 net_enic net_fcoe net_forc net_igb
		net_ixgb net_libf net_mlx4*2 net_nx_n net_tg3 net_usbn net_vmxn nfnic nhpsa nmlx4_co nmlx4_en nmlx4_rd
		nmlx5_co nmlx5_rd ntg3 nvme nvmxnet3*2 ohci_usb pvscsi qcnic qedentv qfle3 qfle3f qfle3i qflge sata_ahc
		sata_ata sata_sat*5 scsi_aac scsi_adp scsi_aic scsi_bnx*2 scsi_fni scsi_hps scsi_ips scsi_isc scsi_lib
		scsi_meg*3 scsi_mpt*3 scsi_qla sfvmk shim_isc*2 shim_lib*5 shim_vmk*3 smartpqi uhci_usb usb_stor usbcore_
		vmkata vmkfcoe vmkplexe vmkusb vmw_ahci xhci_xhc elx_esx_ btldr.t00 esx_dvfi esx_ui esxupdt weaselin.t00
		lsu_hp_h lsu_inte lsu_lsi_*5 lsu_smar native_m qlnative rste vmware_e vsan vsanheal vsanmgmt tools.t00
		xorg imgdb.tgz imgpayld.tgz`)
}

// owner says whose payload a file of the medium is.
type owner struct{ vib, payload string }

// ownerOf returns the VIB and the payload of a module, ok false for the
// archives that belong to none. Names of payloads are longer than 8.3: cut to
// eight characters, with "_" for "-", they give the module's name.
func ownerOf(module string) (o owner, ok bool) {
	stem, suffix, _ := strings.Cut(module, ".")
	switch module {
	case "imgdb.tgz", "imgpayld.tgz", "resvibs.tgz", "esxiodpt.tgz":
		return owner{}, false
	case "tools.t00":
		return owner{"tools-light", "tools"}, true
	case "xorg.v00":
		return owner{"esx-xserver", "xorg"}, true
	case "esxupdt.v00":
		return owner{"esx-update", "esxupdt"}, true
	case "uc_intel.b00", "uc_amd.b00", "uc_hygon.b00":
		return owner{"cpu-microcode", strings.ReplaceAll(stem, "_", "-")}, true
	}
	switch stem {
	case "vmx", "vim", "tpm", "sb", "s", "btldr", "weaselin", "basemisc":
		return owner{"esx-base", stem}, true
	}
	if suffix == "b00" || suffix == "gz" {
		return owner{"esx-base", stem}, true
	}
	if name, known := longNames()[module]; known {
		return owner{name, name}, true
	}
	name := strings.ReplaceAll(stem, "_", "-")
	switch {
	case suffix != "v00": // a further payload that is cut to the same eight characters
		name = strings.TrimSuffix(name, "-") + "-" + suffix
	case strings.HasSuffix(name, "-"):
		name += "driver"
	}
	return owner{name, name}, true
}

// longNames are the VIBs whose name does not follow from the module's.
func longNames() map[string]string {
	return map[string]string{
		"lsi_msgp.v00": "lsi-msgpt2", "lsi_msgp.v01": "lsi-msgpt3", "lsi_msgp.v02": "lsi-msgpt35",
		"lsuv2_oe.v00": "lsuv2-oem-dell-plugin", "lsuv2_oe.v01": "lsuv2-oem-lenovo-plugin",
		"lsuv2_hp.v00": "lsuv2-hpv2-hpsa-plugin", "lsuv2_in.v00": "lsuv2-intelv2-nvme-vmd-plugin",
		"lsuv2_ls.v00": "lsuv2-lsiv2-drivers-plugin", "lsuv2_nv.v00": "lsuv2-nvme-pcie-plugin",
		"lsuv2_sm.v00": "lsuv2-smartpqiv2-plugin",
		"nvmxnet3.v00": "nvmxnet3", "nvmxnet3.v01": "nvmxnet3-ens",
		"nmlx5_co.v00": "nmlx5-core", "nmlx5_rd.v00": "nmlx5-rdma", "nmlx4_co.v00": "nmlx4-core", "nmlx4_rd.v00": "nmlx4-rdma",
		"nvme_pci.v00": "nvme-pcie", "ionic_cl.v00": "ionic-cloud", "intelgpi.v00": "intelgpio",
		"clusters.v00": "clusterstore", "drivervm.v00": "drivervm-gpu-base", "elx_esx_.v00": "elx-esx-libelxima.so",
		"esx_dvfi.v00": "esx-dvfilter-generic-fastpath", "tpmesxup.v00": "tpmesxupd", "esxio_co.v00": "esxio-combiner",
		"infravis.v00": "infravisor", "native_m.v00": "native-misc-drivers", "qlnative.v00": "qlnativefc",
		"vmware_e.v00": "vmware-esx-esxcli-nvme-plugin", "vsanheal.v00": "vsanhealth", "vcls_pod.v00": "vcls-pod-crx",
	}
}

// payloadType is a payload's type attribute.
func payloadType(module string) string {
	switch suffix := module[strings.LastIndexByte(module, '.')+1:]; {
	case strings.HasPrefix(suffix, "v"):
		return "vgz"
	case strings.HasPrefix(suffix, "t"):
		return "tgz"
	default:
		return "boot"
	}
}

// bigModules are the files of a full-size medium that are not small, in MiB.
func bigModules() map[string]int64 {
	return map[string]int64{
		"s.v00": 171, "tools.t00": 104,
		"vsan.v00": 38, "vim.v00": 36, "esxiodpt.tgz": 34, "vsanmgmt.v00": 30, "vmx.v00": 28, "esx_ui.v00": 24,
		"gc.v00": 24, "infravis.v00": 20, "loadesx.v00": 18, "crx.v00": 16, "k.b00": 14, "clusters.v00": 12,
		"vdfs.v00": 12, "sb.v00": 10, "vsanheal.v00": 9, "drivervm.v00": 9, "trx.v00": 8, "weaselin.v00": 6,
		"xorg.v00": 5, "resvibs.tgz": 5,
	}
}

// moduleSize returns the size of a module's file in bytes, the same for every
// seed. A few are a multiple of 4096, where readers and planners have an edge.
func moduleSize(module string, size Size) int64 {
	sum := sha256.Sum256([]byte(module))
	least, doublings := int64(700), int64(4) // whole numbers: floats may round otherwise elsewhere
	if size == Full {
		least, doublings = 45<<10, 5
	}
	n := least << (int64(sum[0]) % doublings)
	n += n * int64(binary.LittleEndian.Uint16(sum[1:])) >> 16
	switch mib, big := bigModules()[module]; {
	case big && size == Full:
		return mib << 20
	case big:
		n = 20<<10 + mib*100
	}
	if sum[4]%8 == 0 {
		n = (n + 4095) &^ 4095
	}
	return n
}
