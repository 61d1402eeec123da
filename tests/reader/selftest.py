#!/usr/bin/env python3
"""Checks the reader's primitives against published vectors, then the reader as a whole against a small
repository that this file writes by docs/format.md. The latter shows only that reader and document agree as
understood here; the tests of the program run the reader on repositories the program wrote.
"""
import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

import reader
from reader import Bad, cbor, keyed, padme, u32


def encode(v):
    """CBOR, for the repository below."""
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if n < 1 << 8 * width:
                return bytes([major << 5 | info]) + n.to_bytes(width, "big")
    if v is None or v is True or v is False:
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[v]
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(encode, v))
    return head(5, len(v)) + b"".join(encode(k) + encode(x) for k, x in v.items())


def seal(key, ad, text):
    nonce = os.urandom(24)
    gcm, short = reader.xaes_parts(key, nonce)
    return nonce + gcm.encrypt(short, text, ad)


class Primitives(unittest.TestCase):
    def test_xaes_256_gcm(self):  # https://c2sp.org/XAES-256-GCM
        nonce, text = b"ABCDEFGHIJKLMNOPQRSTUVWX", b"XAES-256-GCM"
        for key, ad, sealed in ((1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
                                (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d")):
            sealed = nonce + bytes.fromhex(sealed)
            self.assertEqual(reader.unseal(bytes([key]) * 32, ad, sealed, "vector"), text)
            for i in range(len(sealed)):
                with self.assertRaises(Bad):
                    reader.unseal(bytes([key]) * 32, ad, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1:], "vector")
            with self.assertRaises(Bad):
                reader.unseal(bytes([key]) * 32, ad + b"x", sealed, "vector")
        for n in (0, 39):
            with self.assertRaises(Bad):
                reader.unseal(bytes(32), b"", bytes(n), "too short")

    def test_padme(self):
        for n, padded in ((0, 0), (1, 1), (2, 2), (7, 7), (8, 8), (9, 10), (15, 16), (100, 104), (1000, 1024),
                          (1025, 1088), (10000, 10240), (2**40 + 1, 2**40 + 2**34)):
            self.assertEqual(padme(n), padded, n)
        for n in range(1, 20000):
            self.assertTrue(n <= padme(n) <= n * 1.12 + 1)
            self.assertEqual(padme(padme(n)), padme(n))

    def test_blake3(self):  # test_vectors.json of BLAKE3: key, input of 0 and 1 bytes
        key = b"whats the Elvish word for friend"
        self.assertEqual(blake3(b"").hexdigest(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262")
        self.assertEqual(keyed(key, b"").hex(), "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26")
        self.assertEqual(keyed(key, b"\0").hex(), "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b")
        self.assertEqual(keyed(key, b"", 64).hex(), "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
                         "b18171a2f22a4b94822c701f107153dba24918c4bae4d2945c20ece13387627d")

    def test_argon2id(self):  # RFC 9106, section 5.3
        tag = Argon2id(salt=b"\2" * 16, length=32, iterations=3, lanes=4, memory_cost=32, secret=b"\3" * 8,
                       ad=b"\4" * 12).derive(b"\1" * 32)
        self.assertEqual(tag.hex(), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659")

    def test_cbor(self):  # RFC 8949, appendix A
        for text, value in (("00", 0), ("17", 23), ("1818", 24), ("1903e8", 1000), ("1a000f4240", 1000000),
                            ("1bffffffffffffffff", 2**64 - 1), ("20", -1), ("3903e7", -1000),
                            ("3bffffffffffffffff", -2**64), ("f4", False), ("f5", True), ("f6", None), ("40", b""),
                            ("4401020304", b"\1\2\3\4"), ("60", ""), ("6449455446", "IETF"), ("62c3bc", "\u00fc"),
                            ("64f0908591", "\U00010151"), ("80", []), ("8301820203820405", [1, [2, 3], [4, 5]]),
                            ("a0", {}), ("a201020304", {1: 2, 3: 4}), ("a26161016162820203", {"a": 1, "b": [2, 3]})):
            got = cbor(bytes.fromhex(text))
            self.assertEqual((type(got), got), (type(value), value))
            self.assertEqual(encode(value).hex(), text)
        for text in ("", "18", "1903", "5b00ffffffffffffff", "41", "9b00ffffffffffffff", "a1", "a101", "62c328", "c000",
                     "f7", "f90000", "fb3ff0000000000000", "5f4101ff", "7f6161ff", "9f01ff", "bf0102ff", "ff", "1c",
                     "0000", "a201020103", "a14001", "81" * 70 + "00"):
            with self.assertRaises(Bad, msg=text):
                cbor(bytes.fromhex(text))

    def test_zstd(self):
        frame = zstandard.ZstdCompressor().compress(b"a" * 1000)
        self.assertEqual(reader.unzstd(frame, 1000, "frame"), b"a" * 1000)
        self.assertEqual(reader.unzstd(zstandard.ZstdCompressor().compress(b""), 0, "frame"), b"")
        bare = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 1000)
        for bad, n in ((frame, 999), (frame, 1001), (frame + b"x", 1000), (frame + frame, 1000), (frame[:-1], 1000),
                       (bare, 1000), (b"", 0)):
            with self.assertRaises(Bad):
                reader.unzstd(bad, n, "frame")


class Writer:
    """As little of a writer as a test of the reader needs."""

    def __init__(self, root, password, key_file):
        self.root, self.id = root, os.urandom(32)
        self.keys = {k: os.urandom(32) for k in range(4)}
        self.epochs = [{0: n, 1: 1, **{k: os.urandom(32) for k in range(2, 7)}} for n in (1, 2)]
        config = encode({0: self.id, 1: 1, 2: [], 3: 1 << 24, 99: {"unknown": [None]}})
        config = b"MRSBCONF" + u32(1) + u32(len(config)) + config
        os.mkdir(root)
        with open(f"{root}/config", "wb") as f:
            f.write(config + keyed(self.keys[0], config))
        for kind, secret in enumerate((password, key_file)):
            salt, costs = os.urandom(32), (0, 0, 0) if kind else (8192, 1, 1)
            wide = keyed(salt, secret, 64) if kind else Argon2id(
                salt=salt, length=64, iterations=1, lanes=1, memory_cost=8192).derive(secret)
            about = b"mrs-backup key slot v1" + self.id + salt
            sealed = seal(wide[:32], about + b"".join(map(u32, (kind, *costs))) + (1).to_bytes(8, "little"), encode({**self.keys, 4: self.epochs}))
            slot = encode({0: self.id, 1: kind, 2: costs[0], 3: costs[1], 4: costs[2], 5: salt,
                           6: keyed(wide[32:], about), 7: sealed, 8: "", 9: 1})
            self.put("keys", b"MRSBKEY1" + u32(len(slot)) + slot)
        self.index = []

    def put(self, folder, data, name=None):
        id = hashlib.sha256(data).hexdigest()
        path = f"{self.root}/{folder}/" + (name or (f"{id[:2]}/{id}" if folder == "packs" else id))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return bytes.fromhex(id)

    def object(self, folder, kind, key, value, name=None):
        raw = encode(value)
        frame = zstandard.ZstdCompressor().compress(raw)
        text = u32(len(raw)) + u32(len(frame)) + frame
        text += bytes(padme(56 + len(text)) - 56 - len(text))
        head = b"MRSBOBJ1" + bytes([kind, 0, 0, 0]) + u32(2)
        return self.put(folder, head + seal(self.epochs[1][key], b"mrs-backup object v1" + self.id + head, text), name)

    def pack(self, cls, groups, pad):
        """Groups of chunks become segments, in turn of the older and the newer key, raw and compressed."""
        head = b"MRSBPACK" + bytes([1, cls, 0, 0]) + u32(2) + os.urandom(16)
        body, entries = head, []
        for n, group in enumerate(groups):
            raw, epoch, kind = b"".join(group), n % 2, n // 2 % 2
            frame = zstandard.ZstdCompressor().compress(raw) if kind else raw
            id = keyed(self.keys[1], raw)
            sealed = seal(self.epochs[epoch][2 + cls], b"mrs-backup segment v1" + self.id + bytes([cls, kind]) +
                          u32(epoch + 1) + id + bytes(32) + u32(len(raw)) + u32(len(frame)), frame)
            entry = {0: id, 1: len(body), 2: len(sealed), 3: len(raw)}
            entry |= ({} if kind else {4: 0}) | ({} if epoch else {5: 1})
            if len(group) > 1:
                entry[7] = [{0: keyed(self.keys[1], c), 1: len(c)} for c in group]
            entries.append(entry)
            body += sealed
        raw = encode(entries)
        frame = zstandard.ZstdCompressor().compress(raw)
        if pad:
            whole = len(body) + len(frame) + 40 + 64
            body += os.urandom(padme(whole) - whole)
        key = self.epochs[1][2 + cls]
        trailer = struct.pack("<QIIQ", len(body), len(frame) + 40, len(raw), 0)
        body += seal(key, b"mrs-backup directory v1" + self.id + head, frame)
        body += seal(key, b"mrs-backup trailer v1" + self.id + head, trailer)
        self.index.append({0: self.put("packs", body), 1: cls, 2: len(body), 3: entries, 4: 2})

    def stream(self, cls, data, size, depth=0):
        """A stream reference, and packs with its chunks."""
        chunks = [data[i:i + size] for i in range(0, len(data), size)]
        if chunks:
            self.pack(cls, [chunks[i:i + 3] for i in range(0, len(chunks), 3)], depth == 0)
        records = b"".join(keyed(self.keys[1], c) + u32(len(c)) for c in chunks)
        for _ in range(depth):
            records = self.stream(1, records, 50)[2]  # chunks that end within records
        return {0: len(data), 1: depth, 2: records}

    def directory(self, nodes, depth=0):
        data = b"".join(u32(len(n)) + n for n in map(encode, sorted(nodes, key=lambda n: n[0])))
        return self.stream(1, data, 70, depth)


class WholeReader(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        for name, secret in (("password", b"correct horse\n"), ("key", b"k" * 40), ("wrong", b"wrong\n")):
            with open(f"{self.dir}/{name}", "wb") as f:
                f.write(secret)
        w = self.w = Writer(f"{self.dir}/repo", b"correct horse", b"k" * 40)
        self.big = os.urandom(3000) + bytes(3000) + os.urandom(100)

        def node(name, type, more, time=(-5, 123456789)):
            return {0: name, 1: type, 2: 0o640, 3: os.getuid(), 4: os.getgid(), 7: time[0], 8: time[1], **more}
        inner = w.directory([node(b"link", 2, {12: b"../nowhere\xff"}), node(b"pipe", 3, {}),
                             node(b"also", 0, {15: 7, 16: True}),
                             node(b"set", 0, {2: 0o4755, 9: w.stream(0, b"suid", 9)})])
        extents = [(4096, 1000), (1 << 20, 50)]
        root = w.directory([
            node(b"big", 0, {9: w.stream(0, self.big, 500, 2)}), node(b"empty", 0, {9: {0: 0}}),
            node(b"\xff\xfe", 0, {9: w.stream(0, b"odd name", 3)}),
            node(b"dir", 1, {2: 0o2751, 9: inner}),
            node(b"first", 0, {9: w.stream(0, b"linked", 100), 15: 7, 14: [{0: b"user.a", 1: b"\0b"}]}),
            node(b"hole", 0, {9: {0: 0}, 10: 1 << 21, 11: b""}),
            node(b"sparse", 0, {9: w.stream(0, self.big[:1050], 800), 10: 1 << 22,
                                11: b"".join(struct.pack("<QQ", *e) for e in extents)}),
        ] + ([node(b"null", 4, {13: [1, 3]})] if os.geteuid() == 0 else []), 1)
        old = w.object("index", 2, 4, {0: w.index + [dict(w.index[0]) | {0: b"g" * 32}]})
        w.object("index", 2, 4, {0: w.index, 1: [old]})
        self.snapshot = w.object("snapshots", 3, 5, {
            0: root, 1: "web", 2: "host", 3: 10**18, 4: 10**18 + 1, 5: "UTC", 6: ["t"],
            7: [{0: "files", 1: "etc", 2: b"etc", 3: ["unreadable"], 4: {"a": "b"}}], 8: False, 11: 1, 14: bytes(16)})
        w.object("sessions", 4, 6, {0: "host", 1: 1, 2: 1, 3: 2, 4: [], 6: "backup"}, "00" * 16 + "/0")
        w.object("condemned", 5, 4, {0: [], 1: 1, 2: "host"})
        w.object("receipts", 6, 5, {0: "run", 1: 1, 2: "web", 3: "host", 4: "ok"})
        with open(f"{self.dir}/repo/snapshots/x.tmp", "wb"):
            pass

    def run_reader(self, *command, secret=("--password-file", "password")):
        p = subprocess.run([sys.executable, reader.__file__, f"{self.dir}/repo", secret[0], f"{self.dir}/{secret[1]}",
                            *command], capture_output=True, text=True)
        return p.returncode, p.stdout, p.stderr

    def verify(self, out):
        def content(name):
            with open(os.fsencode(out) + b"/" + name, "rb") as f:
                return f.read()
        self.assertEqual(content(b"big"), self.big)
        self.assertEqual((content(b"empty"), content(b"\xff\xfe"), content(b"first")), (b"", b"odd name", b"linked"))
        self.assertEqual(content(b"hole"), bytes(1 << 21))
        sparse = content(b"sparse")
        self.assertEqual((len(sparse), sparse[4096:5096], sparse[1 << 20:(1 << 20) + 50]),
                         (1 << 22, self.big[:1000], self.big[1000:1050]))
        self.assertEqual(sum(sparse[:4096] + sparse[5096:1 << 20] + sparse[(1 << 20) + 50:]), 0)
        self.assertLess(os.stat(f"{out}/sparse").st_blocks * 512, 1 << 20)
        self.assertTrue(os.path.samefile(f"{out}/first", f"{out}/dir/also"))
        self.assertEqual(os.readlink(os.fsencode(out) + b"/dir/link"), b"../nowhere\xff")
        self.assertTrue(stat.S_ISFIFO(os.lstat(f"{out}/dir/pipe").st_mode))
        self.assertEqual(os.getxattr(f"{out}/first", "user.a"), b"\0b")
        for name, mode in (("big", 0o640), ("dir", 0o2751), ("dir/set", 0o4755), ("dir/pipe", 0o640)):
            self.assertEqual(stat.S_IMODE(os.lstat(f"{out}/{name}").st_mode), mode)
        for name in ("big", "dir", "dir/link", "dir/also", "sparse"):
            self.assertEqual(os.lstat(f"{out}/{name}").st_mtime_ns, -5 * 10**9 + 123456789, name)
        if os.geteuid() == 0:
            self.assertEqual(os.lstat(f"{out}/null").st_rdev, os.makedev(1, 3))

    def test_whole(self):
        status, out, err = self.run_reader("list")
        self.assertEqual(status, 0, err)
        listed = json.loads(out)
        self.assertEqual((listed["id"], listed["instance"], listed["complete"], listed["counter"], listed["tags"],
                          listed["sources"][0]["incomplete"]),
                         (self.snapshot.hex(), "web", False, 1, ["t"], ["unreadable"]))
        status, out, err = self.run_reader("check")
        self.assertEqual((status, err), (0, ""))
        for command, secret in (("restore", ("--password-file", "password")), ("restore-from-packs", ("--key-file", "key"))):
            target = f"{self.dir}/{command}"
            if command == "restore-from-packs":
                shutil.rmtree(f"{self.dir}/repo/index")
            status, out, err = self.run_reader(command, self.snapshot.hex()[:12], target, secret=secret)
            self.assertEqual((status, err), (0, ""))
            self.verify(target)
        status, _, err = self.run_reader("restore", self.snapshot.hex(), f"{self.dir}/without-index")
        self.assertEqual(status, 1, err)
        status, _, err = self.run_reader("list", secret=("--password-file", "wrong"))
        self.assertEqual(status, 2)
        self.assertIn("no key slot opens", err)

    def test_damage(self):
        """One changed byte in any object is found, also when the object is renamed to its new SHA-256."""
        repo = f"{self.dir}/repo"
        paths = sorted(os.path.join(d, f) for d, _, fs in os.walk(repo) for f in fs if not f.endswith(".tmp"))
        for path in [p for p in paths if "/packs/" not in p] + [p for p in paths if "/packs/" in p][:3]:
            with open(path, "rb") as f:
                good = f.read()
            at = 40 if "/packs/" in path else len(good) - 1
            bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]
            os.remove(path)
            new = path
            if len(os.path.basename(path)) == 64:
                id = hashlib.sha256(bad).hexdigest()
                new = f"{repo}/packs/{id[:2]}/{id}" if "/packs/" in path else os.path.join(os.path.dirname(path), id)
            os.makedirs(os.path.dirname(new), exist_ok=True)
            for name in {path, new}:
                with open(name, "wb") as f:
                    f.write(bad)
                if name == path or "/keys/" not in name:  # of a slot, only the name covers label and creation time
                    self.assertNotEqual(self.run_reader("check")[0], 0, name)
                os.remove(name)
            with open(path, "wb") as f:
                f.write(good)
        self.assertEqual(self.run_reader("check")[0], 0)


if __name__ == "__main__":
    unittest.main()
