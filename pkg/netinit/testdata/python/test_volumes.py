"""The readers of raw disks, judged by what foreign tools write."""
import os
import random
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "files")]

import volumes  # noqa: E402
from esxi_netinit import fatfs, isofs, parttable, rawdev  # noqa: E402

PART, PARTS = (int(n) for n in os.environ.get("ESXI_FUZZ_PART", "0/1").split("/"))  # other parts are others' business
ROUNDS = int(os.environ.get("ESXI_FUZZ_ROUNDS", "1000")) // PARTS
META = b'{"hostname": "h1"}\n'


def files(many=300):
    out = {"openstack/latest/meta_data.json": META, "openstack/latest/vendor_data2.json": b"{}" * 5000,
           "openstack/latest/empty": b"", "openstack/latest/user_data": os.urandom(40000), "README": b"x"}
    for i in range(many):
        out["openstack/content/a file with a long name %04d" % i] = b"%d" % i
    return out


def contents(tree, folder="", depth=0):
    """All files below, through the listing."""
    out = {}
    for entry in tree.list(folder) if depth < 10 else ():
        path = folder + "/" + entry.name if folder else entry.name
        if entry.is_dir:
            out.update(contents(tree, path, depth + 1))
        else:
            out[path] = tree.contents(entry, 1 << 20)
    return out


class Iso(unittest.TestCase):
    def check(self, program, options, same=None):
        want = files()
        data = volumes.Work(self).iso(want, "config-2", program, options)
        volume = isofs.Volume(rawdev.Memory(data))
        self.assertEqual(set(volume.labels), {"config-2"})
        got = contents(volume)
        self.assertEqual(got, want if same is None else dict((same(path), want[path]) for path in want))
        self.assertEqual(volume.read("OPENSTACK/latest/Meta_Data.json", 1000), META)
        self.assertIsNone(volume.read("openstack/latest", 1000))
        self.assertIsNone(volume.read("openstack/latest/meta_data.json/x", 1000))
        self.assertRaises(rawdev.VolumeError, volume.read, "openstack/latest/user_data", 100)

    def test_both_names(self):
        self.check("xorriso", ("-J", "-r"))
        self.check("genisoimage", ("-J", "-r"))

    def test_rock_ridge(self):
        self.check("xorriso", ("-r",))
        self.check("genisoimage", ("-R",))

    def test_joliet(self):
        self.check("xorriso", ("-J",))
        self.check("genisoimage", ("-J",))

    def test_plain(self):
        self.check("genisoimage", ("-iso-level", "4"))

    def test_links_are_no_files(self):
        work = volumes.Work(self)
        os.symlink("/etc/passwd", os.path.join(work.tree({"a": b"1"}), "link"))
        volume = isofs.Volume(rawdev.Memory(work.iso({"b": b"2"}, "cidata")))
        self.assertEqual(contents(volume), {"a": b"1", "b": b"2"})

    def test_deep_folders(self):
        want = {"/".join("abcdefghi") + "/file": b"x", "b": b"y"}
        volume = isofs.Volume(rawdev.Memory(volumes.Work(self).iso(want, "x", "xorriso", ("-r",))))
        self.assertEqual(volume.read("b", 10), b"y")

    def test_long_rock_ridge_names(self):
        # Beyond a directory record: with a continuation area.
        want = {"n" * 250: b"1", "m" * 200: b"2"}
        volume = isofs.Volume(rawdev.Memory(volumes.Work(self).iso(want, "x", "xorriso", ("-r",))))
        self.assertEqual(contents(volume), want)

    def limited(self, name, value):
        self.addCleanup(setattr, isofs, name, getattr(isofs, name))
        setattr(isofs, name, value)

    def test_limits(self):
        volume = isofs.Volume(rawdev.Memory(volumes.Work(self).iso(dict(files(30), **{"n" * 250: b""}), "x", "xorriso", ("-r",))))
        self.assertEqual(len(volume.list("openstack/content")), 30)
        for name, value, folder in (("MAX_ENTRIES", 30, "openstack/content"), ("MAX_FOLDER", 2047, "openstack/content"), ("MAX_CONTINUATIONS", 0, "")):
            before = getattr(isofs, name)
            self.limited(name, value)
            self.assertRaises(rawdev.VolumeError, volume.list, folder)
            setattr(isofs, name, before)

    def test_associated_file(self):
        data = bytearray(volumes.Work(self).iso({"fork": b"1", "file": b"2"}, "x", "genisoimage", ("-iso-level", "4")))
        at = bytes(data).index(b"\x04fork")  # length and name of the record
        data[at - 32 + 25] |= isofs.ASSOCIATED
        self.assertEqual(contents(isofs.Volume(rawdev.Memory(bytes(data)))), {"file": b"2"})

    def test_cut_off(self):
        data = volumes.Work(self).iso(files(3), "config-2")
        for size in (0, 1, 2048, 32768, 34000, 36864, 40960):
            try:
                contents(isofs.Volume(rawdev.Memory(data[:size])))
                self.fail("%d bytes were read" % size)
            except rawdev.VolumeError:
                pass


class Fat(unittest.TestCase):
    def check(self, bits, kib, cluster, sector=512):
        want = files(200)
        data = volumes.Work(self).fat(want, "CONFIG-2", bits, kib, cluster, sector)
        volume = fatfs.Volume(rawdev.Memory(data))
        self.assertEqual(volume.bits, bits)
        self.assertEqual(set(volume.labels), {"CONFIG-2"})
        self.assertEqual(contents(volume), want)
        self.assertEqual(volume.read("OPENSTACK/latest/Meta_Data.json", 1000), META)
        self.assertRaises(rawdev.VolumeError, volume.read, "openstack/latest/user_data", 100)

    def test_fat12(self):
        self.check(12, 1440, 1)

    def test_fat16(self):
        self.check(16, 16384, 1)
        self.check(16, 65536, 8)

    def test_fat32(self):
        self.check(32, 70000, 1)

    def test_large_sectors(self):
        self.check(16, 65536, 2, 4096)

    def test_short_names(self):
        want = {"A.B": b"1", "lower.txt": b"2", "UPPER": b"3", "Mixed.Txt": b"4"}
        self.assertEqual(contents(fatfs.Volume(rawdev.Memory(volumes.Work(self).fat(want, "CIDATA")))), want)

    def test_unicode(self):
        name = b"K\xc3\xbcche \xe2\x82\xac".decode("utf-8")
        if sys.getfilesystemencoding().lower() != "utf-8":
            return  # the file could not even be made
        want = {name + ".txt": b"1"}
        self.assertEqual(list(contents(fatfs.Volume(rawdev.Memory(self.unicode_volume(want))))), list(want))

    def unicode_volume(self, want):
        before = os.environ.get("LC_ALL")
        os.environ["LC_ALL"] = "C.UTF-8"
        try:
            return volumes.Work(self).fat(want, "CIDATA")
        finally:
            os.environ.pop("LC_ALL")
            if before is not None:
                os.environ["LC_ALL"] = before

    def test_long_name_of_another(self):
        """Left by a system without long names that has put a file in place."""
        data = bytearray(volumes.Work(self).fat({"A long name": b"1"}, "X"))
        at = bytes(data).index(b"ALONGN~1")
        data[at:at + 8] = b"OTHER   "
        self.assertEqual(contents(fatfs.Volume(rawdev.Memory(bytes(data)))), {"OTHER": b"1"})

    def test_first_byte(self):
        self.assertEqual(fatfs.short_name(b"\x05BC     D  " + bytes(21)), "\xe5BC.D")
        self.assertEqual(fatfs.short_name(b"ABC     D  \0\x18" + bytes(19)), "abc.d")

    def test_circle(self):
        data = bytearray(volumes.Work(self).fat({"big": b"x" * 4000, "d/e": b"y"}, "X", 16, 16384, 1))
        fat = 512 * (data[14] | data[15] << 8)
        for cluster in range(2, 30):
            data[fat + 2 * cluster:fat + 2 * cluster + 2] = bytes((cluster, 0))
        volume = fatfs.Volume(rawdev.Memory(bytes(data)))
        self.assertRaises(rawdev.VolumeError, volume.read, "d/e", 100)
        self.assertEqual(len(volume.read("big", 5000)), 4000)  # bounded by its size

    def test_no_fat(self):
        for data in (b"", b"\0" * 512, b"\xff" * 4096, b"\0" * 510 + b"\x55\xaa" + b"\0" * 4096):
            self.assertRaises(rawdev.VolumeError, fatfs.Volume, rawdev.Memory(data))


class Tables(unittest.TestCase):
    def disk(self, **options):
        return volumes.gpt(8 << 20, [(volumes.ESP, volumes.PARTITION, 1 << 20, b"abc" * 1000), (volumes.BASIC, volumes.DISK, 3 << 20, 1 << 20)], **options)

    def check(self, data, damaged):
        device = rawdev.Memory(data)
        table = parttable.read(device)
        self.assertEqual((table.guid, table.damaged), (volumes.DISK, damaged))
        self.assertEqual([(p.index, p.kind, p.guid, p.offset) for p in table.partitions],
                         [(1, volumes.ESP, volumes.PARTITION, 1 << 20), (2, volumes.BASIC, volumes.DISK, 3 << 20)])
        self.assertEqual(parttable.section(device, table.partitions[0]).read(0, 6), b"abcabc")

    def test_gpt(self):
        for sector in (512, 4096):
            self.check(self.disk(sector=sector), False)
            self.check(self.disk(sector=sector, backup=False), True)
            primary = bytearray(self.disk(sector=sector))
            primary[sector:sector + 8] = b"\0" * 8
            self.check(bytes(primary), True)
            entries = bytearray(self.disk(sector=sector))
            entries[2 * sector + 40] ^= 1
            self.check(bytes(entries), True)

    def test_larger_disk(self):
        # An image that was written to a larger disk.
        self.check(self.disk() + b"\0" * 4096, True)

    def test_sgdisk_agrees(self):
        work = volumes.Work(self)
        path = os.path.join(work.folder, "disk")
        with open(path, "wb") as f:
            f.truncate(8 << 20)
        volumes.tool("sgdisk", "-U", volumes.DISK, "-n", "1:2048:+1M", "-t", "1:" + volumes.ESP, "-u", "1:" + volumes.PARTITION, path)
        table = parttable.read(rawdev.Memory(work.image("disk")))
        self.assertEqual((table.guid, table.damaged, table.partitions[0].guid, table.partitions[0].offset), (volumes.DISK, False, volumes.PARTITION, 1 << 20))

    def test_mbr(self):
        work = volumes.Work(self)
        path = os.path.join(work.folder, "disk")
        with open(path, "wb") as f:
            f.truncate(16 << 20)
        with open(path + ".sfdisk", "w") as f:
            f.write("label: dos\n2048,2048,c\n4096,24000,5\n6144,2048,83\n10240,2048,83\n")
        with open(path + ".sfdisk", "rb") as f:
            import subprocess
            subprocess.check_call(["/usr/sbin/sfdisk", "-q", path] if os.path.exists("/usr/sbin/sfdisk") else ["sfdisk", "-q", path], stdin=f)
        table = parttable.read(rawdev.Memory(work.image("disk")))
        self.assertIsNone(table.guid)
        self.assertEqual([(p.index, p.kind, p.offset // 512) for p in table.partitions], [(1, "0c", 2048), (5, "83", 6144), (6, "83", 10240)])

    def test_none(self):
        for data in (b"", b"x" * 511, b"\0" * 5000, b"\0" * 510 + b"\x55\xaa"):
            self.assertIsNone(parttable.read(rawdev.Memory(data)))

    def test_circle_of_logical_partitions(self):
        disk = bytearray(volumes.mbr(1 << 20, [(5, 8, b"x" * 512)]))
        disk[8 * 512:9 * 512] = volumes.mbr(512, [])
        disk[8 * 512 + 446:8 * 512 + 462] = b"\0\0\0\0\x83\0\0\0" + bytes((1, 0, 0, 0, 1, 0, 0, 0))
        disk[8 * 512 + 462:8 * 512 + 478] = b"\0\0\0\0\x05\0\0\0" + bytes((0, 0, 0, 0, 1, 0, 0, 0))
        self.assertEqual(len(parttable.read(rawdev.Memory(bytes(disk))).partitions), parttable.MAX_LOGICAL)


class Devices(unittest.TestCase):
    def test_any_bytes(self):
        data = os.urandom(3 * rawdev.CHUNK + 512)
        work = volumes.Work(self)
        work.tree({"device": data})
        with rawdev.Device(os.path.join(work.folder, "tree", "device")) as device:
            for offset, length in ((0, 1), (0, len(data)), (rawdev.CHUNK - 1, 2), (len(data) - 1, 1), (len(data), 0), (5, 70000)):
                self.assertEqual(device.read(offset, length), data[offset:offset + length])
            for offset, length in ((-1, 2), (0, len(data) + 1), (len(data), 1), (0, -1), (1 << 60, 1)):
                self.assertRaises(rawdev.VolumeError, device.read, offset, length)
            part = rawdev.Section(device, 100, 50)
            self.assertEqual(part.read(10, 40), data[110:150])
            self.assertRaises(rawdev.VolumeError, part.read, 10, 41)
            self.assertRaises(rawdev.VolumeError, rawdev.Section, device, len(data), 1)

    def test_reads_are_aligned(self):
        """As ESXi's devices want them."""
        asked, real = [], os.read
        work = volumes.Work(self)
        work.tree({"device": b"x" * (rawdev.CHUNK + 5 * 512)})
        try:
            os.read = lambda fd, n: asked.append((os.lseek(fd, 0, os.SEEK_CUR), n)) or real(fd, n)
            with rawdev.Device(os.path.join(work.folder, "tree", "device")) as device:
                device.read(70, 3)
                device.read(rawdev.CHUNK + 1, 700)
        finally:
            os.read = real
        self.assertEqual([(a % 512, n % 512) for a, n in asked], [(0, 0)] * len(asked))
        self.assertEqual(len(asked), 2)

    def test_short_reads(self):
        """What is missing is asked for from an aligned place."""
        data, real = os.urandom(rawdev.CHUNK), os.read
        work = volumes.Work(self)
        work.tree({"device": data})
        asked = []
        try:
            os.read = lambda fd, n: asked.append(os.lseek(fd, 0, os.SEEK_CUR)) or real(fd, min(n, 5000))
            with rawdev.Device(os.path.join(work.folder, "tree", "device")) as device:
                self.assertEqual(device.read(0, len(data)), data)
            self.assertEqual(set(at % rawdev.ALIGN for at in asked), {0})
            os.read = lambda fd, n: real(fd, min(n, 100))
            with rawdev.Device(os.path.join(work.folder, "tree", "device")) as device:
                self.assertRaises(rawdev.VolumeError, device.read, 0, 512)
        finally:
            os.read = real

    def test_missing(self):
        self.assertRaises(rawdev.VolumeError, rawdev.Device, "/no/such/device")
        self.assertRaises(rawdev.VolumeError, rawdev.Device(tempfile.gettempdir()).read, 0, 512)


class Patched(rawdev.Memory):
    """A mutant, without a copy of the whole volume."""

    def __init__(self, data, patches):
        rawdev.Memory.__init__(self, data)
        self.patches = patches

    def read(self, offset, length):
        out = rawdev.Memory.read(self, offset, length)
        # Patches have at most 4 bytes; most reads are far from all of them.
        near = [(at, patch) for at, patch in self.patches if offset - 4 < at < offset + length]
        if not near:
            return out
        out = bytearray(out)
        for at, patch in near:
            for i, byte in enumerate(bytearray(patch)):
                if 0 <= at + i - offset < length:
                    out[at + i - offset] = byte
        return bytes(out)


class Hostile(unittest.TestCase):
    """Damaged volumes give an error or wrong bytes, never a traceback, and
    never take long."""

    def fuzz(self, data, reader, hot):
        rng = random.Random(4711 + PART)
        slowest = 0
        read = 0
        for _ in range(ROUNDS):
            patches = []
            for _ in range(rng.choice((1, 2, 4, 16))):
                at = rng.randrange(*rng.choice(hot))
                some = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\1\0\0\0", b"\x7f\xff\xff\xff")
                patches.append((at, rng.choice(some) if rng.random() < 0.3 else bytes((rng.randrange(256),))))
            started = time.process_time()
            try:
                read += reader(Patched(data, patches))
            except rawdev.VolumeError:
                pass
            slowest = max(slowest, time.process_time() - started)
        self.assertLess(slowest, 20)
        self.assertGreater(read, ROUNDS // 20)  # or the mutants are too wild to tell anything

    def test_iso(self):
        data = volumes.Work(self).iso(files(40), "config-2")
        walk = lambda source: bool(contents(isofs.Volume(source)))  # noqa: E731
        self.fuzz(data, walk, [(16 * 2048, 19 * 2048), (19 * 2048, 60 * 2048)])

    def test_fat(self):
        for bits, kib in ((12, 1440), (16, 16384), (32, 70000)):
            data = volumes.Work(self).fat(files(40), "CONFIG-2", bits, kib, 1)
            end = len(data) if bits == 12 else 600 * 512
            self.fuzz(data, lambda source: bool(contents(fatfs.Volume(source))), [(0, 90), (512, end)])

    def test_tables(self):
        data = volumes.gpt(64 << 10, [(volumes.ESP, volumes.PARTITION, 20 << 10, 4096)])
        self.fuzz(data, lambda source: parttable.read(source) is not None, [(446, 700), (1024, 1300), (len(data) - 512, len(data))])


if __name__ == "__main__":
    unittest.main()
