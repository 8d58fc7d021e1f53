"""Which disk is which, and what keeps an image from starting again."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import volumes  # noqa: E402
from machine import Machine  # noqa: E402
from esxi_netinit import disks, guard  # noqa: E402
from esxi_netinit.rawdev import Unreadable  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402
from esxi_netinit.stage import Image, Refused  # noqa: E402

GB = 1 << 30


class Choosing(Machine):
    def choose(self, disk=None):
        stage = self.stage()
        found = disks.scan(stage)
        disks.describe(stage, found)
        wanted = None if disk is None else Model.from_dict({"version": 1, "install": {"disk": disk}}).install["disk"]
        choice = disks.choose(stage, found, stage.image(), wanted)
        return None if choice is None else choice.disk.name if choice.disk else choice.firstdisk

    def test_scan(self):
        self.image_disk("naa.1")
        for name in ("naa.1:1", "mpx.vmhba0:C0:T0:L0", "mpx.vmhba0:C0:T0:L0:1"):
            self.file("dev/disks/" + name, b"x" * 512)
        self.file("dev/cdrom/mpx.vmhba1:C0:T0:L0", b"x")
        os.symlink("naa.1", os.path.join(self.root, "dev/disks/vml.1"))
        self.assertEqual([d.name for d in disks.scan(self.stage())], ["mpx.vmhba0:C0:T0:L0", "naa.1", "mpx.vmhba1:C0:T0:L0"])

    def test_nothing(self):
        self.assertEqual(disks.scan(self.stage()), [])
        self.assertRaises(Refused, self.choose)

    def test_image(self):
        self.disk("naa.0", volumes.gpt(64 << 10, []))
        self.disk("naa.2", b"")
        self.image_disk("naa.1")
        self.assertEqual(self.choose(), "naa.1")
        self.assertEqual(self.choose({"image": True}), "naa.1")
        self.image_disk("naa.3")
        self.assertRaises(Refused, self.choose)

    def test_image_on_a_larger_disk(self):
        self.image_disk("naa.1", esp=b"x", size=4 << 20)
        with open(os.path.join(self.root, "dev/disks/naa.1"), "ab") as f:
            f.truncate(8 << 20)
        self.assertEqual(self.choose(), "naa.1")

    def test_same_disk_installed_before(self):
        """Its GUID may survive an installation; our partition does not."""
        self.disk("naa.0", volumes.gpt(8 << 20, [(volumes.ESP, volumes.DISK, 1 << 20, 512)]))
        self.assertRaises(Refused, self.choose)

    def test_no_image_known(self):
        os.remove(os.path.join(self.root, "esxiimg/image.json"))
        self.disk("naa.1", size=64 * GB)
        self.assertIsNone(self.choose())

    def fleet(self):
        self.image_disk("naa.5000000000000001", size=64 << 20, model="SMALL")
        self.disk("naa.5000c500a0000002", size=100 * GB, model="BIG DISK MODEL 0123456789", vendor="SEAGATE")
        self.disk("t10.ATA_____INTEL_SSDSC2BB480G7_____________________PHDV7201010T480BGN__", size=50 * GB, model="INTEL SSDSC2BB48")
        self.disk("t10.NVMe____Dell_BOSS2DN1____0001000000000000", size=500 * GB, removable=True)
        self.disk("eui.0025385b71b00001", size=100 * GB, uids="vml.0100000000533441424331323334352020202020202020504d383633")
        self.disk("mpx.vmhba32:C0:T0:L0", size=1000 * GB, usb=True)

    def test_hints(self):
        self.fleet()
        for hint, want in (
            ({"wwn": "0x5000c500a0000002"}, "naa.5000c500a0000002"),
            ({"wwn": "0x0025385b71b00001"}, "eui.0025385b71b00001"),
            ({"serial": "PHDV7201010T480BGN"}, "t10.ATA_____INTEL_SSDSC2BB480G7_____________________PHDV7201010T480BGN__"),
            ({"path": "/vmfs/devices/disks/mpx.vmhba32:C0:T0:L0"}, "mpx.vmhba32:C0:T0:L0"),
            ({"path": "naa.5000c500a0000002"}, "naa.5000c500a0000002"),
            ({"model": "big disk model 0123456789"}, "naa.5000c500a0000002"),
            ({"vendor": "seagate"}, "naa.5000c500a0000002"),
            ({"size": "smallest"}, "t10.ATA_____INTEL_SSDSC2BB480G7_____________________PHDV7201010T480BGN__"),
            ({"serial": "S4ABC12345"}, "eui.0025385b71b00001"),
            ({"min_bytes": 60 * GB, "vendor": "Seagate", "size": "smallest"}, "naa.5000c500a0000002"),
            ({"firstdisk": ["local", "ST300"]}, ["local", "ST300"]),
        ):
            self.assertEqual(self.choose(hint), want, hint)

    def test_no_guessing(self):
        self.fleet()
        for hint in ({"size": "largest"},  # two of 100 GB; the larger ones can be pulled out
                     {"wwn": "0x5000c500a0000003"}, {"serial": "T480BGN"}, {"serial": "nothing"}, {"path": "sda"}, {"path": "naa.5000c500a0000002:1"},
                     {"model": "B"}, {"vendor": "S"}, {"vendor": "SEAGATE", "model": "SMALL"}, {"min_bytes": 60 * GB}):
            self.assertRaises(Refused, self.choose, hint)

    def test_image_among_equals(self):
        self.image_disk("naa.1", model="SAME")
        self.disk("naa.2", model="SAME", size=1 << 20)
        self.disk("naa.3", model="SAME", size=1 << 20)
        self.assertEqual(self.choose({"model": "SAME"}), "naa.1")

    def test_runtime_path(self):
        self.disk("naa.1", size=GB)
        self.disk("naa.2", size=GB)
        os.symlink("naa.1", os.path.join(self.root, "dev/disks/vml.77"))
        self.answers["localcli storage core path list"] = (
            0, "x:\n   UID: x\n   Runtime Name: vmhba0:C0:T0:L0\n   Device: naa.1\ny:\n   Runtime Name: vmhba0:C0:T1:L0\n   Device: naa.2\n")
        self.assertEqual(self.choose({"path": "vmhba0:C0:T1:L0"}), "naa.2")
        self.assertEqual(self.choose({"path": "/vmfs/devices/disks/vml.77"}), "naa.1")
        self.assertRaises(Refused, self.choose, {"path": "vmhba0:C0:T9:L0"})

    def test_kernel_says_nothing(self):
        self.image_disk("naa.1")
        del self.answers["localcli storage core device list"]
        self.assertEqual(self.choose(), "naa.1")
        self.assertRaises(Refused, self.choose, {"model": "Disk"})
        # What can be pulled out is not told.
        self.disk("naa.2", size=20 * GB)
        self.assertRaises(Refused, self.choose, {"size": "largest"})

    def test_a_table_that_we_fail_at(self):
        self.image_disk("naa.1")
        self.disk("naa.0", b"odd" + bytes(8192))
        real = disks.parttable.read
        self.addCleanup(setattr, disks.parttable, "read", real)
        disks.parttable.read = lambda device: [][1] if device.read(0, 3) == b"odd" else real(device)
        self.assertEqual(self.choose(), "naa.1")

    def test_unreadable_disk(self):
        self.image_disk("naa.1")
        os.mkdir(os.path.join(self.root, "dev/disks/naa.0"))
        self.assertEqual(self.choose(), "naa.1")


class Guard(Machine):
    def setUp(self):
        super().setUp()
        self.image_object = Image({"version": 1, "disk": volumes.DISK, "partition": volumes.PARTITION})

    def scan(self):
        return disks.scan(self.stage())

    def apply(self):
        return guard.apply(self.stage(), self.scan(), self.image_object)

    def starts(self, name):
        disk = [d for d in self.scan() if d.name == name][0]
        found = disk.image_partition(self.image_object)
        return found is not None and guard.bootable(disk, found)

    def test_unbootable_afterwards(self):
        self.image_disk("naa.1")
        other = self.disk("naa.2", volumes.gpt(64 << 20, [(volumes.ESP, volumes.DISK, 1 << 20, self.esp())]))
        before, data = self.read("dev/disks/naa.1"), self.read("dev/disks/naa.2")
        self.assertTrue(self.starts("naa.1"))
        self.assertTrue(self.apply())
        self.assertFalse(self.starts("naa.1"))
        after = self.read("dev/disks/naa.1")
        changed = [i for i in range(0, len(before), 512) if before[i:i + 512] != after[i:i + 512]]
        self.assertEqual(changed, [1 << 20, (1 << 20) + 6 * 512])  # both boot sectors, nothing else
        self.assertEqual(self.read("dev/disks/naa.2"), data, other)
        # fsck and mtools agree that this is no FAT volume any more.
        path = self.file("esp", after[1 << 20:(1 << 20) + len(self.esp())])
        self.assertRaises(AssertionError, volumes.tool, "mdir", "-i", path, "::")
        self.assertTrue(self.apply())  # again: nothing to do
        self.assertEqual(self.calls, [])

    def test_4k_sectors(self):
        esp = volumes.Work(self).fat_file({"ESXIKS.TGZ": b"x"}, "ESXI-IMG", 32, 300000, 1, 4096)
        path = self.disk("naa.1", size=310 << 20)
        volumes.gpt_file(path, 310 << 20, [(volumes.ESP, volumes.PARTITION, 1 << 20, esp)], 4096)
        with open(path, "rb") as f:
            before = f.read(2 << 20)
        self.assertTrue(self.apply())
        with open(path, "rb") as f:
            after = f.read(2 << 20)
        changed = [i for i in range(0, 2 << 20, 512) if before[i:i + 512] != after[i:i + 512]]
        self.assertEqual(changed, [1 << 20, (1 << 20) + 6 * 4096])
        self.assertFalse(self.starts("naa.1"))

    def test_installed_on_the_image(self):
        """The installer has made other partitions of it."""
        self.disk("naa.1", volumes.gpt(64 << 20, [(volumes.ESP, "99999999-bbbb-8ccc-8ddd-eeeeeeeeeeee", 1 << 20, self.esp())]))
        before = self.read("dev/disks/naa.1")
        self.assertTrue(self.apply())
        self.assertEqual(self.read("dev/disks/naa.1"), before)

    def test_esp_of_another(self):
        esp = volumes.Work(self).fat({"EFI/BOOT/BOOTX64.EFI": b"x"}, "BOOT", 32, 34000)
        self.image_disk("naa.1", esp=esp)
        before = self.read("dev/disks/naa.1")
        self.assertTrue(self.apply())
        self.assertEqual(self.read("dev/disks/naa.1"), before)

    def test_write_fails(self):
        path = self.image_disk("naa.1")
        real = guard.write

        def broken(disk, blocks):
            raise OSError(30, "Read-only file system")

        guard.write = broken
        try:
            self.assertFalse(self.apply())
            self.assertEqual(self.calls, ["partedUtil delete /dev/disks/naa.1 1"])
            self.assertRaises(Refused, guard.rehearse, self.scan(), None, self.image_object)

            def delete(argv):
                data = bytearray(self.read("dev/disks/naa.1"))
                data[1024:1024 + 128] = bytes(128)
                with open(path, "wb") as f:
                    f.write(volumes.gpt(len(data), []))
                return 0, ""

            self.answers["partedUtil delete /dev/disks/naa.1 1"] = delete
            self.assertTrue(self.apply())
        finally:
            guard.write = real

    def deaf(self, *names):
        """Devices that give errors from now on."""
        real = guard.Device

        class Deaf(real):
            def __init__(self, path):
                super().__init__(path)
                if os.path.basename(path) in names:
                    self.close()
                    raise Unreadable("can't be opened: Input/output error")

        for module in (guard, disks):
            self.addCleanup(setattr, module, "Device", real)
            module.Device = Deaf

    def test_no_table_any_more(self):
        """The disk went away while it was looked at: its table is not there."""
        self.image_disk("naa.1")
        self.image_disk("naa.2")
        real, found = guard.write, self.scan()

        def broken(disk, blocks):
            if disk.name == "naa.2":
                return real(disk, blocks)
            self.deaf("naa.1")
            raise OSError(5, "Input/output error")

        self.addCleanup(setattr, guard, "write", real)
        guard.write = broken
        stage = self.stage()
        self.assertFalse(guard.apply(stage, found, self.image_object))
        self.assertIn("naa.1 STILL STARTS", "".join(stage.state["notes"]))
        self.assertFalse(self.starts("naa.2"))

    def test_a_mistake_about_one_disk(self):
        self.image_disk("naa.1")
        self.image_disk("naa.2")
        real = guard.disable
        self.addCleanup(setattr, guard, "disable", real)
        guard.disable = lambda stage, disk, *more: 1 // 0 if disk.name == "naa.1" else real(stage, disk, *more)
        self.assertFalse(self.apply())
        self.assertFalse(self.starts("naa.2"))

    def test_can_not_be_looked_at(self):
        """What can't be read is not taken for unbootable."""
        self.image_disk("naa.1")
        found = self.scan()
        self.deaf("naa.1")
        self.assertFalse(guard.apply(self.stage(), found, self.image_object))

    def test_was_seen_before(self):
        self.image_disk("naa.1")
        self.disk("naa.2", size=20 << 20)
        self.deaf("naa.1")
        stage = self.stage()
        stage.state.update(image_disks=["naa.1"], install={"disk": "naa.2"})
        self.assertFalse(guard.apply(stage, self.scan(), self.image_object))
        self.assertIn("can't be looked at", "".join(stage.state["notes"]))
        # Pulled out: told, and no failure.
        stage = self.stage()
        stage.state.update(image_disks=["naa.9"], install={"disk": "naa.2"})
        self.assertTrue(guard.apply(stage, self.scan(), self.image_object))
        self.assertIn("naa.9", "".join(stage.state["notes"]))
        # Installed on: its partitions are new.
        stage = self.stage()
        stage.state.update(image_disks=["naa.1"], install={"disk": "naa.1"})
        self.assertTrue(guard.apply(stage, self.scan(), self.image_object))

    def test_rehearsal_changes_nothing(self):
        self.image_disk("naa.1")
        before = self.read("dev/disks/naa.1")
        found = self.scan()
        guard.rehearse(disks.carriers(found, self.image_object), None, self.image_object)
        self.assertEqual(self.read("dev/disks/naa.1"), before)
        self.assertTrue(self.starts("naa.1"))


if __name__ == "__main__":
    unittest.main()
