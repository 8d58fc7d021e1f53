"""Drives that can't be read as usual: what is left to find them by."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import volumes  # noqa: E402
from test_installer import Base, drive  # noqa: E402
from machine import CANARY  # noqa: E402
from esxi_netinit import disks, finder  # noqa: E402
from esxi_netinit.rawdev import Unreadable  # noqa: E402


class FallBack(Base):
    """The kernel's own file systems, where raw reading fails."""

    def test_iso(self):
        self.file("dev/disks/naa.1")
        self.disks_fail()
        self.answers["vsish -e set /vmkModules/iso9660/mount naa.1"] = lambda argv: self.mounted("CONFIG-2", drive()) or (0, "")
        self.metadata()
        self.assertIn("volume CONFIG-2", self.said)
        self.assertEqual(self.calls, ["localcli system module load --module iso9660", "vsish -e set /vmkModules/iso9660/mount naa.1",
                                      "vsish -e set /vmkModules/iso9660/umount naa.1"])
        self.is_password(self.rootpw(), CANARY)

    def test_vfat(self):
        self.file("dev/disks/naa.1")
        self.disks_fail()
        self.answers["localcli storage filesystem automount"] = lambda argv: self.mounted("CONFIG-2", drive()) or (0, "")
        self.metadata()
        self.assertIn("volume CONFIG-2", self.said)

    def test_partition_by_itself(self):
        """The disk can't be read as a whole, and its partitions can."""
        self.file("dev/disks/naa.1")
        self.file("dev/disks/naa.1:1", b"x" * 8192)
        self.file("dev/disks/naa.1:5", self.iso(drive()))
        self.file("dev/disks/naa.11:5", b"x" * 8192)
        self.disks_fail()
        self.assertIn("metadata found: naa.1:5", self.metadata())
        self.assertEqual(self.calls, [])

    def test_partition_that_only_mounts(self):
        for device in ("naa.1", "naa.1:5"):
            self.file("dev/disks/" + device)
        self.disks_fail()
        self.answers["vsish -e set /vmkModules/iso9660/mount naa.1:5"] = lambda argv: self.mounted("config-2", drive()) or (0, "")
        self.assertIn("volume config-2", self.metadata())

    def test_part_of_a_disk_that_can_not_be_read(self):
        """The table can, and where the drive lies the device gives errors."""
        self.partition(drive())
        real = finder.Device

        class Deaf(real):
            def _raw(self, start, length):
                if start >= 40 << 20:
                    raise Unreadable("byte %d can't be read" % start)
                return super()._raw(start, length)

        self.addCleanup(setattr, finder, "Device", real)
        finder.Device = Deaf
        self.answers["vsish -e set /vmkModules/iso9660/mount naa.1"] = lambda argv: self.mounted("config-2", drive()) or (0, "")
        self.assertIn("volume config-2", self.metadata())

    def test_damaged_fat(self):
        data = bytearray(volumes.Work(self).fat(drive(), "CONFIG-2"))
        data[14:16] = b"\0\0"  # no reserved sectors
        self.disk("naa.1", bytes(data))
        self.metadata()
        self.assertTrue(any("iso9660/mount naa.1" in call for call in self.calls))

    def test_mistake_about_one_volume(self):
        self.disk("naa.0", b"x" * 65536)
        self.partition(drive())
        real = finder.open_volume
        self.addCleanup(setattr, finder, "open_volume", real)
        finder.open_volume = lambda source: [][1] if source.read(0, 1) == b"x" else real(source)
        self.assertIn("metadata found: naa.1:2", self.metadata())
        self.assertIn("naa.0 can't be understood", self.said)

    def test_mounting_for_ever(self):
        for i in range(4):
            self.file("dev/disks/naa.%d" % i)
        self.disks_fail()
        self.addCleanup(setattr, finder, "MOUNT_SECONDS", finder.MOUNT_SECONDS)
        finder.MOUNT_SECONDS = -1
        self.assertIn("not all devices were tried", self.metadata())
        self.assertFalse(any("mount naa" in call for call in self.calls))

    def test_damaged_drive(self):
        data = bytearray(self.iso(drive()))
        data[156 + 16 * 2048 + 2:156 + 16 * 2048 + 6] = b"\xff\xff\xff\x00"
        self.disk("naa.1", bytes(data))
        self.metadata()
        self.assertTrue(any("iso9660/mount naa.1" in call for call in self.calls))
        self.assertIn("no metadata was found", self.said)

    def disks_fail(self):
        def fails(disk):
            disk.problem = "can't be opened: Device or resource busy"

        self.addCleanup(setattr, disks.Disk, "read_table", disks.Disk.read_table)
        disks.Disk.read_table = fails


if __name__ == "__main__":
    unittest.main()
