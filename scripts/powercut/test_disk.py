"""The disk of the power cuts loses what it may lose and nothing else."""

import os
import random
import tempfile
import unittest

import disk

SIZE = 1 << 20


class DiskTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def make(self, **options):
        with open(self.path("current"), "wb") as image:
            image.truncate(SIZE)
        made = disk.Disk(self.path("current"), self.path("durable"), **options)
        self.addCleanup(made.close)
        return made

    def cut(self, made, seed):
        counts = made.cut(self.path("cut"), random.Random(seed))
        with open(self.path("cut"), "rb") as image:
            return counts, image.read()

    def test_a_flushed_write_survives_every_cut(self):
        made = self.make()
        made.write(4096, b"a" * 4096)
        made.flush()
        made.write(8192, b"b" * 4096)
        for seed in range(50):
            _, image = self.cut(made, seed)
            self.assertEqual(image[4096:8192], b"a" * 4096)

    def test_an_unflushed_write_is_kept_dropped_or_torn_at_a_sector(self):
        made = self.make()
        made.write(4096, b"a" * 4096)
        seen = set()
        for seed in range(100):
            counts, image = self.cut(made, seed)
            self.assertEqual(sum(counts.values()), 1)
            sectors = [image[4096 + at : 4608 + at] for at in range(0, 4096, 512)]
            self.assertLessEqual(set(sectors), {b"a" * 512, bytes(512)})
            kept = sectors.count(b"a" * 512)
            kind = {0: "dropped", 8: "kept"}.get(kept, "torn")
            self.assertEqual(counts[kind], 1)
            seen.add(kind)
        self.assertEqual(seen, {"kept", "torn", "dropped"})

    def test_the_machine_reads_what_it_wrote_flushed_or_not(self):
        made = self.make()
        made.write(512, b"x" * 512)
        self.assertEqual(made.read(512, 512), b"x" * 512)

    def test_a_lying_disk_loses_flushed_writes(self):
        made = self.make(lying=True)
        made.write(0, b"a" * 512)
        made.flush()
        images = {self.cut(made, seed)[1][:512] for seed in range(50)}
        self.assertEqual(images, {b"a" * 512, bytes(512)})

    def test_a_write_with_fua_survives(self):
        made = self.make()
        made.write(0, b"a" * 512, durable=True)
        for seed in range(20):
            self.assertEqual(self.cut(made, seed)[1][:512], b"a" * 512)

    def test_the_cache_is_bounded_and_its_oldest_writes_become_durable(self):
        made = self.make(lying=True, cache_limit=1024)
        for block in range(4):
            made.write(block * 512, b"a" * 512)
        self.assertEqual(made.cached_bytes, 1024)
        self.assertEqual(self.cut(made, 1)[1][:1024], b"a" * 1024)


if __name__ == "__main__":
    unittest.main()
