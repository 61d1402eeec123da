#!/usr/bin/env python3
"""An independent reader of mrs-backup repositories, written from docs/format.md alone.

    reader.py REPO [--password-file F | --key-file F] list
    reader.py REPO [...] check
    reader.py REPO [...] restore SNAPSHOT DIR
    reader.py REPO [...] restore-from-packs SNAPSHOT DIR

`list` prints one JSON object per snapshot. `check` verifies every object of the repository: names are
SHA-256, everything opens, every chunk has the id it is listed with, every snapshot's chunks are there.
`restore` finds chunks through index/; `restore-from-packs` ignores index/ and reads the packs' own directories.
SNAPSHOT is an id or the beginning of one. DIR must be absent or empty. Section numbers below are those
of docs/format.md. Exit status: 0 all well, 1 problems (told on stderr), 2 usage or repository unreadable.
"""
import argparse
import collections
import getpass
import hashlib
import hmac
import json
import os
import re
import stat
import struct
import sys

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

GIB, MIB = 1 << 30, 1 << 20
MAX_OBJECT, MAX_PACK, MAX_SEGMENT, MAX_SLOT = GIB, 256 * MIB, 128 * MIB, 2 * MIB  # sections 4, 12
DATA, TREE = 0, 1  # classes of packs
INDEX, SNAPSHOT, SESSION, CONDEMNED, RECEIPT = 2, 3, 4, 5, 6  # kinds of sealed objects
FILE, DIRECTORY, SYMLINK, FIFO, CHAR, BLOCK, SOCKET = range(7)  # types of nodes


class Bad(Exception):
    """Something is not as the format says."""


class NoKey(Bad):
    """The key slot that was opened does not hold this key."""


def need(truth, what):
    if not truth:
        raise Bad(what)


# ---------------------------------------------------------------- CBOR (RFC 8949)

def cbor(data):
    """Decode one item that fills `data`: definite lengths, no tags, no floats, no key twice."""
    value, end = _cbor(data, 0, 0)
    need(end == len(data), "CBOR: bytes after the item")
    return value


def _cbor(data, at, nesting):
    need(nesting <= 64, "CBOR: nested too deeply")
    need(at < len(data), "CBOR: cut short")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        need(info in (20, 21, 22), "CBOR: a value that is not a bool or null")
        return {20: False, 21: True, 22: None}[info], at
    if info < 24:
        n = info
    else:
        need(info <= 27, "CBOR: indefinite or reserved length")
        width = 1 << (info - 24)
        need(at + width <= len(data), "CBOR: cut short")
        n = int.from_bytes(data[at:at + width], "big")
        at += width
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        need(n <= len(data) - at, "CBOR: string longer than what holds it")
        raw = bytes(data[at:at + n])
        if major == 2:
            return raw, at + n
        try:
            return raw.decode("utf-8"), at + n
        except UnicodeDecodeError:
            raise Bad("CBOR: text is not UTF-8") from None
    need(major != 6, "CBOR: a tag")
    need(n * (major - 3) <= len(data) - at, "CBOR: more items than bytes")
    if major == 4:
        items = []
        for _ in range(n):
            item, at = _cbor(data, at, nesting + 1)
            items.append(item)
        return items, at
    pairs = {}
    for _ in range(n):
        key, at = _cbor(data, at, nesting + 1)
        need(type(key) in (int, str), "CBOR: map key is neither integer nor text")
        need(key not in pairs, "CBOR: map key twice")
        pairs[key], at = _cbor(data, at, nesting + 1)
    return pairs, at


REQUIRED = object()
TYPES = {"uint": int, "int": int, "bytes": bytes, "text": str, "array": list, "map": dict, "bool": bool}


def typed(value, kind, what, size=None):
    need(type(value) is TYPES[kind], f"{what}: not {kind}")
    need(kind != "uint" or value >= 0, f"{what}: negative")
    need(size is None or len(value) == size, f"{what}: not {size} bytes")
    return value


def field(m, key, kind, what, default=REQUIRED, size=None):
    """The value at an integer key of a map, of the type the format gives it."""
    if key not in m:
        need(default is not REQUIRED, f"{what} (key {key}): missing")
        return default
    return typed(m[key], kind, f"{what} (key {key})", size)


def array(m, key, kind, what, default=REQUIRED, size=None):
    return [typed(v, kind, f"an item of {what} (key {key})", size) for v in field(m, key, "array", what, default)]


# ---------------------------------------------------------------- functions (section 2)

def u32(n):
    return struct.pack("<I", n)


def sha256(data):
    return hashlib.sha256(data).digest()


def keyed(key, data, length=32):
    return blake3(data, key=key).digest(length=length)


def xaes_parts(key, nonce):
    """The AES-256-GCM that XAES-256-GCM derives, and its nonce."""
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    wide = int.from_bytes(ecb.update(bytes(16)), "big") << 1
    k1 = (wide & ((1 << 128) - 1)) ^ (0x87 if wide >> 128 else 0)
    derived = b""
    for counter in (1, 2):
        block = bytes([0, counter, 0x58, 0]) + nonce[:12]
        derived += ecb.update((int.from_bytes(block, "big") ^ k1).to_bytes(16, "big"))
    return AESGCM(derived), nonce[12:24]


def unseal(key, ad, sealed, what):
    """The text of `sealed(key, ad, text)`."""
    need(len(sealed) >= 40, f"{what}: shorter than a sealed text can be")
    gcm, nonce = xaes_parts(key, bytes(sealed[:24]))
    try:
        return gcm.decrypt(nonce, bytes(sealed[24:]), ad)
    except InvalidTag:
        raise Bad(f"{what}: does not open (changed, or sealed with another key)") from None


def padme(n):
    if n < 2:
        return n
    e = n.bit_length() - 1
    s = e.bit_length()  # floor(log2 e) + 1
    unit = 1 << (e - s)
    return -(-n // unit) * unit


def unzstd(frame, raw_length, what, base=None):
    """One frame with its content size, and nothing after it; no more room than `raw_length`."""
    try:
        need(zstandard.frame_content_size(frame) == raw_length, f"{what}: zstd content size is not the recorded one")
        prefix = base and zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        raw = zstandard.ZstdDecompressor(dict_data=prefix).decompress(frame, max_output_size=raw_length, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise Bad(f"{what}: zstd: {e}") from None
    need(len(raw) == raw_length, f"{what}: not as long as recorded")
    return raw


# ---------------------------------------------------------------- segments and packs (section 6)

class Segment:
    """A segment entry of a pack's directory or of an index object."""

    def __init__(self, m, header_key_id):
        self.id = field(m, 0, "bytes", "segment id", size=32)
        self.offset = field(m, 1, "uint", "segment offset")
        self.sealed = field(m, 2, "uint", "sealed length")
        self.raw = field(m, 3, "uint", "raw length")
        self.kind = field(m, 4, "uint", "segment kind", 1)
        self.key_id = field(m, 5, "uint", "segment key id", header_key_id)
        need(1 <= self.raw <= MAX_SEGMENT, "segment: raw length out of bounds")
        need(self.kind in (0, 1, 2), f"segment: unknown kind {self.kind}")
        need(self.sealed > 40 and self.offset >= 32, "segment: lies where none can be")
        need(self.kind != 0 or self.sealed == self.raw + 40, "raw segment: lengths do not agree")
        self.base = field(m, 6, "bytes", "base segment id", size=32) if self.kind == 2 else None
        self.chunks = [(self.id, self.raw)]
        if 7 in m:
            self.chunks = [(field(c, 0, "bytes", "chunk id", size=32), field(c, 1, "uint", "chunk length"))
                           for c in array(m, 7, "map", "chunks")]
            need(all(n > 0 for _, n in self.chunks), "segment: an empty chunk")
            need(sum(n for _, n in self.chunks) == self.raw, "segment: chunks do not fill it")

    def facts(self):
        return (self.id, self.offset, self.sealed, self.raw, self.kind, self.key_id, self.base, tuple(self.chunks))


def segments(items, header_key_id, end):
    found = [Segment(typed(m, "map", "segment entry"), header_key_id) for m in items]
    need(all(s.offset + s.sealed <= end for s in found), "a segment ends outside its pack")
    return found


Place = collections.namedtuple("Place", "pack cls segment at length")  # where a chunk is


class Repository:
    def __init__(self, root, secret, is_key_file):
        self.root = os.fsencode(root)
        self.places, self.known = {}, set()  # chunk id -> [Place]; the segments in it
        self.segments = {}  # segment id -> [Place]
        self.cache, self.cached = collections.OrderedDict(), 0
        self.config_bytes = self.read(b"config", MAX_OBJECT)
        self.parse_config()
        self.open_slot(secret, is_key_file)
        need(hmac.compare_digest(keyed(self.config_key, self.config_bytes[:-32]), self.config_bytes[-32:]),
             "config: its authenticator is wrong")
        self.packs = {id: path for id, path in self.objects("packs")}

    # ------------------------------------------------------------ objects (section 1)

    def read(self, path, limit, offset=0, length=None):
        with open(os.path.join(self.root, path), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            need(size <= limit, f"{os.fsdecode(path)}: larger than it may be")
            f.seek(offset)
            return f.read(size if length is None else length)

    def entries(self, folder):
        try:
            return sorted(os.listdir(os.path.join(self.root, folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def objects(self, folder):
        """(id, path) of the objects named by their SHA-256; other names are no objects."""
        folder = folder.encode()
        if folder == b"packs":
            pairs = [(n, b"packs/" + d + b"/" + n) for d in self.entries(b"packs")
                     for n in self.entries(b"packs/" + d) if n[:2] == d]
        else:
            pairs = [(n, folder + b"/" + n) for n in self.entries(folder)]
        return [(bytes.fromhex(n.decode()), p) for n, p in pairs
                if re.fullmatch(b"[0-9a-f]{64}", n) and not self.is_bar(folder, p)]

    def is_bar(self, folder, path):
        if folder not in (b"snapshots", b"condemned"):
            return False
        full = os.path.join(self.root, path)
        return os.path.getsize(full) == 6 and self.read(path, 6) == b"barred"

    def session_objects(self):
        """(path, staged id or None)"""
        for session in self.entries(b"sessions"):
            if re.fullmatch(b"[0-9a-f]{32}", session):
                for name in self.entries(b"sessions/" + session):
                    if re.fullmatch(b"[0-9]+", name):
                        yield b"sessions/" + session + b"/" + name, None
                    elif re.fullmatch(b"staged-[0-9a-f]{64}", name):
                        yield b"sessions/" + session + b"/" + name, bytes.fromhex(name[7:].decode())

    # ------------------------------------------------------------ config and keys (sections 3, 4)

    def parse_config(self):
        data = self.config_bytes
        need(len(data) >= 48 and data[:8] == b"MRSBCONF", "config: not the config of a repository")
        version, n = struct.unpack_from("<II", data, 8)
        need(version == 1, f"config: format version {version}, this reader knows 1")
        need(n <= 65536 and len(data) == 16 + n + 32, "config: wrong length")
        self.id = field(typed(cbor(data[16:16 + n]), "map", "config"), 0, "bytes", "repository id", size=32)

    def slot(self, data):
        need(len(data) >= 12 and data[:8] == b"MRSBKEY1", "key slot: not one")
        n, = struct.unpack_from("<I", data, 8)
        need(n <= MIB and len(data) == 12 + n, "key slot: wrong length")
        m = typed(cbor(data[12:]), "map", "key slot")
        need(field(m, 0, "bytes", "repository id", size=32) == self.id, "key slot: of another repository")
        kind = field(m, 1, "uint", "kind")
        memory, passes, lanes = (field(m, k, "uint", "Argon2 cost") for k in (2, 3, 4))
        need(kind in (0, 1), f"key slot: unknown kind {kind}")
        if kind == 0:
            need(8192 <= memory <= 2097152 and 1 <= passes <= 64 and 1 <= lanes <= 64, "key slot: costs out of bounds")
        else:
            need(memory == passes == lanes == 0, "key slot: costs of a key file are not 0")
        return (kind, memory, passes, lanes, field(m, 5, "bytes", "salt", size=32),
                field(m, 6, "bytes", "commitment", size=32), field(m, 7, "bytes", "sealed key set"),
                struct.pack("<q", field(m, 9, "int", "creation time")) + field(m, 8, "text", "label").encode())

    def open_slot(self, password, is_key_file):
        need(not is_key_file or len(password) >= 32, "the key file is shorter than 32 bytes")
        for id, path in self.objects("keys"):
            try:
                kind, memory, passes, lanes, salt, commitment, sealed, told = self.slot(self.read(path, MAX_SLOT))
            except Bad as e:
                print(f"keys/{id.hex()}: {e}", file=sys.stderr)
                continue
            if kind != int(is_key_file):
                continue
            if kind == 0:
                secret = Argon2id(salt=salt, length=64, iterations=passes, lanes=lanes, memory_cost=memory).derive(password)
            else:
                secret = keyed(salt, password, 64)
            about = b"mrs-backup key slot v1" + self.id + salt
            if not hmac.compare_digest(keyed(secret[32:], about), commitment):
                continue
            ad = (about + u32(kind) + u32(memory) + u32(passes) + u32(lanes) + told)
            keys = typed(cbor(unseal(secret[:32], ad, sealed, "key set")), "map", "key set")
            self.config_key = field(keys, 0, "bytes", "config key", size=32)
            self.id_key = field(keys, 1, "bytes", "id key", size=32)
            self.epochs = {}
            for epoch in array(keys, 4, "map", "epochs"):
                self.epochs[field(epoch, 0, "uint", "key id")] = {
                    name: field(epoch, k, "bytes", name + " key", None, size=32)
                    for k, name in ((2, "data"), (3, "tree"), (4, "index"), (5, "snapshot"), (6, "session"))}
            return
        raise Bad("no key slot opens with this " + ("key file" if is_key_file else "password"))

    def key(self, key_id, name):
        need(key_id in self.epochs, f"sealed with key {key_id}, which the key set does not have")
        key = self.epochs[key_id][name]
        if key is None:
            raise NoKey(f"the {name} key is not in this key slot")
        return key

    # ------------------------------------------------------------ sealed objects (section 5)

    def unseal_object(self, data, kind):
        need(len(data) >= 64 and data[:8] == b"MRSBOBJ1", "not a sealed object")
        need(data[8] == kind, f"kind {data[8]} where kind {kind} belongs")
        need(data[9:12] == bytes(3), "reserved bytes are not zero")
        name = {INDEX: "index", CONDEMNED: "index", SNAPSHOT: "snapshot", RECEIPT: "snapshot", SESSION: "session"}[kind]
        key = self.key(struct.unpack_from("<I", data, 12)[0], name)
        text = unseal(key, b"mrs-backup object v1" + self.id + data[:16], memoryview(data)[16:], "object")
        need(len(text) >= 8, "object: text too short")
        r, s = struct.unpack_from("<II", text)
        need(r <= GIB and s <= len(text) - 8, "object: lengths out of bounds")
        need(not any(text[8 + s:]), "object: padding is not zeros")
        need(len(data) == padme(16 + 40 + 8 + s), "object: not padded to the PADME size")
        return typed(cbor(unzstd(text[8:8 + s], r, "object")), "map", "object")

    def load(self, path, kind):
        return self.unseal_object(self.read(path, MAX_OBJECT), kind)

    def snapshots(self):
        for id, path in self.objects("snapshots"):
            yield id, self.load(path, SNAPSHOT)

    # ------------------------------------------------------------ packs (section 6)

    def pack_directory(self, read, size):
        """Class, key id and segments of a pack, by the pack itself. `read(offset, length)` reads of it."""
        need(32 + 41 + 64 <= size <= MAX_PACK, "pack: size out of bounds")
        header = read(0, 32)
        need(header[:8] == b"MRSBPACK" and header[8] == 1, "pack: not a pack of version 1")
        cls, (key_id,) = header[9], struct.unpack_from("<I", header, 12)
        need(cls in (DATA, TREE) and header[10:12] == bytes(2), "pack: wrong header")
        key = self.key(key_id, ("data", "tree")[cls])
        trailer = unseal(key, b"mrs-backup trailer v1" + self.id + header, read(size - 64, 64), "trailer")
        offset, length, r, zero = struct.unpack("<QIIQ", trailer)
        need(zero == 0, "trailer: reserved bytes are not zero")
        need(offset >= 32 and offset + length == size - 64, "trailer: the directory lies where it cannot")
        need(1 <= r <= 1 << 28, "trailer: raw length of the directory out of bounds")
        text = unseal(key, b"mrs-backup directory v1" + self.id + header, read(offset, length), "directory")
        items = typed(cbor(unzstd(text, r, "directory")), "array", "directory")
        return cls, key_id, segments(items, key_id, offset)

    def open_segment(self, cls, s, sealed, depth=0):
        need(len(sealed) == s.sealed, "segment: the pack is cut short")
        ad = (b"mrs-backup segment v1" + self.id + bytes([cls, s.kind]) + u32(s.key_id) + s.id +
              (s.base or bytes(32)) + u32(s.raw) + u32(s.sealed - 40))
        frame = unseal(self.key(s.key_id, ("data", "tree")[cls]), ad, sealed, "segment")
        if s.kind == 0:
            return frame
        return unzstd(frame, s.raw, "segment", self.base(s.base, depth + 1) if s.kind == 2 else None)

    def base(self, id, depth):
        """Raw bytes of the segment that a delta was made against, `depth` deltas away from what is wanted."""
        need(depth <= 16, "segment: more deltas on each other than are followed")
        last = Bad("no pack has it")
        for p in self.segments.get(id, []):
            try:
                raw = self.segment(p, depth)
                need(len(raw) <= 1 << 23, "it is longer than a base may be")
                return raw
            except (Bad, OSError) as e:
                last = e  # another form of it may serve
        raise Bad(f"base {id.hex()}: {last}")

    def segment(self, p, depth=0):
        where = (p.pack, p.segment.offset)
        raw = self.cache.get(where)
        if raw is None:
            sealed = self.read(self.packs[p.pack], MAX_PACK, p.segment.offset, p.segment.sealed)
            raw = self.open_segment(p.cls, p.segment, sealed, depth)
            self.cache[where] = raw
            self.cached += len(raw)
            while self.cached > 64 * MIB and len(self.cache) > 1:
                self.cached -= len(self.cache.popitem(last=False)[1])
        else:
            self.cache.move_to_end(where)
        return raw

    def add_places(self, pack, cls, found):
        for s in found:
            if (pack, s.offset, s.id) in self.known:  # several index objects may list a pack
                continue
            self.known.add((pack, s.offset, s.id))
            self.segments.setdefault(s.id, []).append(Place(pack, cls, s, 0, s.raw))
            at = 0
            for id, length in s.chunks:
                self.places.setdefault(id, []).append(Place(pack, cls, s, at, length))
                at += length

    def index_packs(self, index):
        """(pack id, class, size, segments) of an index object (section 7)."""
        for p in array(index, 0, "map", "packs"):
            size = field(p, 2, "uint", "size of the pack")
            cls = field(p, 1, "uint", "class")
            need(cls in (DATA, TREE) and size <= MAX_PACK, "index: a pack that cannot be")
            entries = segments(field(p, 3, "array", "segments"), field(p, 4, "uint", "key id"), size - 64)
            yield field(p, 0, "bytes", "pack id", size=32), cls, size, entries

    def find_by_index(self):
        for _, path in self.objects("index"):
            try:
                for pack, cls, _, entries in self.index_packs(self.load(path, INDEX)):
                    if pack in self.packs:  # a pack counts only while it is there
                        self.add_places(pack, cls, entries)
            except Bad as e:
                print(f"{os.fsdecode(path)}: {e}", file=sys.stderr)

    def find_by_packs(self):
        for pack, path in self.packs.items():
            size = os.stat(os.path.join(self.root, path)).st_size
            try:
                cls, _, entries = self.pack_directory(lambda o, n, p=path: self.read(p, MAX_PACK, o, n), size)
            except Bad as e:
                print(f"packs/{pack.hex()}: {e}", file=sys.stderr)
                continue
            self.add_places(pack, cls, entries)

    # ------------------------------------------------------------ chunks and streams (section 8)

    def chunk(self, cls, id, length):
        last = Bad("no pack has it")
        for p in self.places.get(id, []):
            try:
                need(p.length == length, "listed with another length")
                data = self.segment(p)[p.at:p.at + p.length]
                need(keyed(self.id_key, data) == id, "its bytes are not those of its id")
                return data
            except (Bad, OSError) as e:
                last = e  # another segment may serve
        raise Bad(f"chunk {id.hex()} of class {cls}: {last}")

    def records(self, ref, what):
        """(chunk id, length) of the chunks that are the stream, in order."""
        depth = field(ref, 1, "uint", what + ": depth", 0)
        need(depth <= 8, what + ": too deep")
        blocks = [field(ref, 2, "bytes", what + ": list", b"")]
        for _ in range(depth):
            blocks = (self.chunk(TREE, id, n) for id, n in split_records(blocks))
        total, length = 0, field(ref, 0, "uint", what + ": length")
        for id, n in split_records(blocks):
            total += n
            need(total <= length, what + ": chunks exceed its length")
            yield id, n
        need(total == length, what + ": chunks are less than its length")

    def stream(self, cls, ref, what):
        return (self.chunk(cls, id, n) for id, n in self.records(ref, what))

    def nodes(self, ref):
        """The nodes of a directory (section 9)."""
        buffer, at, last = b"", 0, None
        for block in self.stream(TREE, ref, "directory"):
            buffer, at = buffer[at:] + block, 0
            while len(buffer) - at >= 4:
                n, = struct.unpack_from("<I", buffer, at)
                need(n <= 1 << 24, "directory: node too long")
                if len(buffer) - at - 4 < n:
                    break
                node = typed(cbor(buffer[at + 4:at + 4 + n]), "map", "node")
                at += 4 + n
                name = field(node, 0, "bytes", "name")
                need(name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name, "node: forbidden name")
                need(last is None or last < name, "directory: not sorted, or a name twice")
                last = name
                yield name, node
        need(at == len(buffer), "directory: ends within a node")


def split_records(blocks):
    rest = b""
    for block in blocks:
        rest += block
        whole = len(rest) // 36 * 36
        for at in range(0, whole, 36):
            yield rest[at:at + 32], struct.unpack_from("<I", rest, at + 32)[0]
        rest = rest[whole:]
    need(not rest, "list of chunks: ends within a record")


def extents_of(node, length):
    """Size of a file and the (offset, length) ranges its content fills."""
    size = field(node, 10, "uint", "size", length)
    raw = field(node, 11, "bytes", "extents", None)
    if raw is None:
        need(size >= length, "file: larger than its size")
        return size, [(0, length)] if length else []
    need(len(raw) % 16 == 0, "extents: end within a record")
    ranges, end = list(struct.iter_unpack("<QQ", raw)), 0
    for offset, n in ranges:
        need(offset >= end and n <= size - offset, "extents: not ascending, or outside the file")
        end = offset + n
    need(sum(n for _, n in ranges) == length, "extents: not as long as the content")
    return size, ranges


# ---------------------------------------------------------------- restore

class Restore:
    def __init__(self, repo, out):
        self.repo, self.out = repo, os.fsencode(out)
        self.first, self.further, self.directories = {}, [], []  # hard link group -> path; (group, path)
        self.problems = self.restored = 0
        self.is_root = os.geteuid() == 0

    def problem(self, path, what):
        self.problems += 1
        print(f"{os.fsdecode(path)}: {what}", file=sys.stderr)

    def run(self, snapshot):
        os.makedirs(self.out, exist_ok=True)
        need(not os.listdir(self.out), "the directory to restore into is not empty")
        self.directory(self.out, field(snapshot, 0, "map", "root tree"))
        for group, path in self.further:
            if group in self.first:
                os.link(self.first[group], path, follow_symlinks=False)
                self.restored += 1
            else:
                self.problem(path, "the first name of its hard link group is not there")
        for path, node in reversed(self.directories):  # last: what is made in a directory changes its time
            try:
                self.metadata(path, node, DIRECTORY)
            except Bad as e:
                self.problem(path, e)
        return self.problems

    def directory(self, path, ref):
        try:
            for name, node in self.repo.nodes(ref):
                where = os.path.join(path, name)
                try:
                    self.node(where, node)
                except (Bad, OSError) as e:
                    self.problem(where, e)
        except Bad as e:
            self.problem(path, e)

    def node(self, path, node):
        group = field(node, 15, "uint", "hard link group", None)
        if field(node, 16, "bool", "further name", False):
            need(group is not None, "a further name without a hard link group")
            self.further.append((group, path))
            return
        kind = field(node, 1, "uint", "type")
        if kind == FILE:
            self.file(path, node)
        elif kind == DIRECTORY:
            os.mkdir(path, 0o700)
            self.directories.append((path, node))
            self.directory(path, field(node, 9, "map", "content"))
        elif kind == SYMLINK:
            os.symlink(field(node, 12, "bytes", "link target"), path)
        elif kind == FIFO:
            os.mkfifo(path, 0o600)
        elif kind in (CHAR, BLOCK):
            if not self.is_root:
                print(f"{os.fsdecode(path)}: a device, left out (not root)", file=sys.stderr)
                return
            device = array(node, 13, "uint", "device number")
            need(len(device) == 2, "device number: not a pair")
            os.mknod(path, 0o600 | (stat.S_IFCHR if kind == CHAR else stat.S_IFBLK), os.makedev(*device))
        else:
            raise Bad(f"a node of type {kind}, which version 1 does not write")
        self.restored += 1
        if group is not None:
            need(group not in self.first, "a second first name of one hard link group")
            self.first[group] = path
        if kind != DIRECTORY:
            self.metadata(path, node, kind)

    def file(self, path, node):
        ref = field(node, 9, "map", "content")
        size, ranges = extents_of(node, field(ref, 0, "uint", "content: length"))
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            ranges, left = iter(ranges), 0
            for block in self.repo.stream(DATA, ref, "content"):
                at = 0
                while at < len(block):
                    while left == 0:
                        offset, left = next(ranges)
                        f.seek(offset)
                    n = min(left, len(block) - at)
                    f.write(block[at:at + n])
                    at, left = at + n, left - n
            f.truncate(size)
        if field(node, 17, "bool", "mark of a changed file", False):
            print(f"{os.fsdecode(path)}: recorded as changed or not read to its end", file=sys.stderr)

    def metadata(self, path, node, kind):
        mode = field(node, 2, "uint", "mode")
        need(mode <= 0o7777, "mode: more than the permission bits")
        nanoseconds = field(node, 8, "uint", "nanoseconds", 0)
        need(nanoseconds < 10**9, "nanoseconds: a second or more")
        time = field(node, 7, "int", "modification time") * 10**9 + nanoseconds
        try:
            if self.is_root:
                os.chown(path, field(node, 3, "uint", "owner"), field(node, 4, "uint", "group"), follow_symlinks=False)
            for a in array(node, 14, "map", "extended attributes", []):
                name, value = field(a, 0, "bytes", "attribute name"), field(a, 1, "bytes", "attribute value")
                try:
                    os.setxattr(path, name, value, follow_symlinks=False)
                except OSError as e:
                    self.problem(path, f"attribute {os.fsdecode(name)}: {e.strerror}")
            if kind != SYMLINK:
                os.chmod(path, mode)
            os.utime(path, ns=(time, time), follow_symlinks=False)
        except OSError as e:
            self.problem(path, e.strerror)


# ---------------------------------------------------------------- check

class Check:
    def __init__(self, repo):
        self.repo, self.problems, self.counts = repo, 0, collections.Counter()
        self.directories, self.trees, self.files = {}, set(), set()

    def each(self, folder, id, path, limit, examine):
        """Compare an object's name with its bytes, and open it."""
        self.counts[folder] += 1
        try:
            data = self.repo.read(path, limit)
            need(id is None or sha256(data) == id, "its name is not the SHA-256 of its bytes")
            return examine(data)
        except NoKey as e:
            self.counts["not openable with this key slot"] += 1
            print(f"{os.fsdecode(path)}: {e}", file=sys.stderr)
        except (Bad, OSError) as e:
            self.problems += 1
            print(f"{os.fsdecode(path)}: {e}", file=sys.stderr)

    def run(self):
        repo = self.repo
        for id, path in repo.objects("keys"):
            self.each("keys", id, path, MAX_SLOT, repo.slot)
        repo.find_by_index()  # a snapshot must be readable through the index, and so must a delta's base
        for id, path in repo.packs.items():
            self.each("packs", id, path, MAX_PACK, lambda data, id=id: self.pack(id, data))
        for id, path in repo.objects("index"):
            self.each("index", id, path, MAX_OBJECT, lambda data: self.index(repo.unseal_object(data, INDEX)))
        for folder, kind in (("condemned", CONDEMNED), ("receipts", RECEIPT)):
            for id, path in repo.objects(folder):
                self.each(folder, id, path, MAX_OBJECT, lambda data, kind=kind: repo.unseal_object(data, kind))
        for path, staged in repo.session_objects():
            kind = SNAPSHOT if staged else SESSION
            self.each("sessions", staged, path, MAX_OBJECT, lambda data, kind=kind: repo.unseal_object(data, kind))
        for id, path in repo.objects("snapshots"):
            self.each("snapshots", id, path, MAX_OBJECT, lambda data: self.snapshot(repo.unseal_object(data, SNAPSHOT)))
        return self.problems

    def pack(self, id, data):
        view = memoryview(data)
        cls, key_id, entries = self.repo.pack_directory(lambda o, n: bytes(view[o:o + n]), len(data))
        self.directories[id] = cls, key_id, len(data), {s.facts() for s in entries}
        for s in entries:
            self.counts["segments"] += 1
            self.counts["deltas"] += s.kind == 2
            raw, at = self.repo.open_segment(cls, s, view[s.offset:s.offset + s.sealed]), 0
            need(keyed(self.repo.id_key, raw) == s.id, f"segment {s.id.hex()}: its bytes are not those of its id")
            for chunk, length in s.chunks:
                self.counts["chunks"] += 1
                need(keyed(self.repo.id_key, raw[at:at + length]) == chunk, f"chunk {chunk.hex()}: wrong bytes")
                at += length

    def index(self, m):
        array(m, 1, "bytes", "replaced", [], size=32)
        for pack, cls, size, entries in self.repo.index_packs(m):
            if pack not in self.repo.packs:
                self.counts["packs indexed but gone"] += 1
            elif pack in self.directories:
                c, key_id, n, facts = self.directories[pack]
                need((c, n) == (cls, size), f"pack {pack.hex()}: class or size differ from the pack's")
                need({s.facts() for s in entries} <= facts, f"pack {pack.hex()}: lists what the pack does not")

    def snapshot(self, m):
        describe(b"", m)
        self.tree(field(m, 0, "map", "root tree"), "/")

    def tree(self, ref, where):
        mark = (ref.get(0), ref.get(1, 0), ref.get(2, b""))
        if mark in self.trees:
            return
        for name, node in self.repo.nodes(ref):
            path = where + os.fsdecode(name)
            try:
                kind = field(node, 1, "uint", "type")
                if kind == DIRECTORY:
                    self.tree(field(node, 9, "map", "content"), path + "/")
                elif kind == FILE and not field(node, 16, "bool", "further name", False):
                    content = field(node, 9, "map", "content")
                    extents_of(node, field(content, 0, "uint", "content: length"))
                    for id, length in self.repo.records(content, "content"):
                        places = self.repo.places.get(id, [])
                        need(any(p.length == length for p in places), f"chunk {id.hex()}: no pack has it")
            except Bad as e:
                raise Bad(str(e) if str(e).startswith("at ") else f"at {path}: {e}") from None
        self.trees.add(mark)


# ---------------------------------------------------------------- commands

def describe(id, m):
    """What `list` prints of a snapshot (section 10)."""
    def hexes(key, what):
        return [v.hex() for v in array(m, key, "bytes", what, [], size=32)]
    parent = field(m, 9, "bytes", "parent", None, size=32)
    session = field(m, 14, "bytes", "session", None, size=16)
    return {
        "id": id.hex(), "instance": field(m, 1, "text", "instance"), "host": field(m, 2, "text", "host"),
        "start": field(m, 3, "int", "start"), "end": field(m, 4, "int", "end"), "zone": field(m, 5, "text", "zone"),
        "complete": field(m, 8, "bool", "complete"), "counter": field(m, 11, "uint", "counter"),
        "tags": array(m, 6, "text", "tags", []),
        "sources": [{"kind": field(s, 0, "text", "kind"), "name": field(s, 1, "text", "name"),
                     "path": os.fsdecode(field(s, 2, "bytes", "path")),
                     "incomplete": array(s, 3, "text", "reasons", []), "details": field(s, 4, "map", "details", {})}
                    for s in array(m, 7, "map", "sources", [])],
        "parent": parent.hex() if parent else None, "predecessors": hexes(10, "predecessors"),
        "statistics": field(m, 12, "map", "statistics", {}), "program": field(m, 13, "text", "program", None),
        "session": session.hex() if session else None,
        "databases": [{"name": field(d, 0, "text", "name"), "path": os.fsdecode(field(d, 5, "bytes", "path")),
                       "tables": len(array(d, 6, "map", "tables", []))} for d in array(m, 15, "map", "databases", [])],
    }


def main():
    parser = argparse.ArgumentParser(description="independent reader of mrs-backup repositories")
    parser.add_argument("repo")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file", help="its content without a newline at the end is the password")
    secret.add_argument("--key-file")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("check")
    for name in ("restore", "restore-from-packs"):
        command = commands.add_parser(name)
        command.add_argument("snapshot")
        command.add_argument("dir")
    args = parser.parse_args()
    try:
        if args.key_file:
            with open(args.key_file, "rb") as f:
                password = f.read()
        elif args.password_file:
            with open(args.password_file, "rb") as f:
                password = re.sub(rb"\r?\n\Z", b"", f.read())
        else:
            password = getpass.getpass("Password: ").encode()
        repo = Repository(args.repo, password, bool(args.key_file))
        if args.command == "list":
            for line in sorted((describe(id, m) for id, m in repo.snapshots()), key=lambda s: (s["start"], s["id"])):
                print(json.dumps(line))
            return 0
        if args.command == "check":
            check = Check(repo)
            problems = check.run()
            print(json.dumps({"repository": repo.id.hex(), "problems": problems, **check.counts}))
            return int(problems > 0)
        matches = [(id, path) for id, path in repo.objects("snapshots") if id.hex().startswith(args.snapshot.lower())]
        need(len(matches) == 1, f"{len(matches)} snapshots have an id that begins so")
        snapshot = repo.load(matches[0][1], SNAPSHOT)
        (repo.find_by_index if args.command == "restore" else repo.find_by_packs)()
        restore = Restore(repo, args.dir)
        problems = restore.run(snapshot)
        print(json.dumps({"snapshot": matches[0][0].hex(), "restored": restore.restored, "problems": problems}))
        return int(problems > 0)
    except (Bad, OSError) as e:
        print(f"reader: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
