#!/usr/bin/env python3
"""Checks a Weir evidence log with nothing but Python's standard library.

    verify.py DIR [VERIFIER-KEY]

Written from FORMAT.md alone, as a stranger would. It recomputes every frame
checksum, every commitment and the Merkle root at every signed head, and checks
every signature, and the SHA-256 of every sealed segment and body file. It has no
keys: what an encrypted body says is not checked, only its length and, once sealed,
its bytes. Exit status: 0 sound, 1 alarm, 2 could not check.
"""

import base64
import datetime
import hashlib
import json
import os
import struct
import sys


def sha256(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p)
    return h.digest()


# CRC-32C (Castagnoli), reflected, polynomial 0x82F63B78.
TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    TABLE.append(i)


def crc32c(*parts):
    crc = 0xFFFFFFFF
    for p in parts:
        for b in p:
            crc = crc >> 8 ^ TABLE[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


# Ed25519 verification, RFC 8032 section 6.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def mul(s, p):
    q = (0, 1, 1, 0)
    while s:
        if s & 1:
            q = add(q, p)
        p = add(p, p)
        s >>= 1
    return q


BY = 4 * pow(5, P - 2, P) % P
BX = recover_x(BY, 0)
BASE = (BX, BY, 1, BX * BY % P)


def point(b):
    n = int.from_bytes(b, "little")
    y = n & ((1 << 255) - 1)
    x = recover_x(y, n >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def ed25519(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = hashlib.sha512(signature[:32] + public + message).digest()
    x, y = mul(s, BASE), add(r, mul(int.from_bytes(h, "little") % L, a))
    return (x[0] * y[2] - y[0] * x[2]) % P == 0 and (x[1] * y[2] - y[1] * x[2]) % P == 0


alarms = 0


def alarm(text):
    global alarms
    alarms += 1
    print("ALARM:", text)


class Key:
    def __init__(self, vkey):
        self.name, hash16, data = vkey.strip().split("+", 2)
        data = base64.b64decode(data)
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        if self.id.hex() != hash16 or data[0] != 1:
            raise ValueError("not an Ed25519 verifier key")
        self.public = data[1:]

    def open(self, note):
        """Returns (size, root) of a checkpoint signed by this key, or None."""
        text, _, signatures = note.decode().rpartition("\n\n")
        text += "\n"
        for line in signatures.splitlines():
            dash, name, sig = line.split(" ")
            sig = base64.b64decode(sig)
            if dash == "\u2014" and name == self.name and sig[:4] == self.id:
                if not ed25519(self.public, text.encode(), sig[4:]):
                    return None
                lines = text.split("\n")
                return (int(lines[1]), base64.b64decode(lines[2])) if lines[0] == self.name else None
        return None


class Tree:
    """RFC 6962's tree of which only the roots of complete subtrees are kept."""

    def __init__(self):
        self.size, self.stack = 0, []

    def append(self, leaf):
        level, h = 0, sha256(b"\0", leaf)
        while self.stack and self.stack[-1][0] == level:
            h = sha256(b"\1", self.stack.pop()[1], h)
            level += 1
        self.stack.append((level, h))
        self.size += 1

    def root(self):
        h = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            h = sha256(b"\1", left, h)
        return h


def frames(directory):
    for name in sorted(n for n in os.listdir(directory) if n.endswith(".seg")):
        with open(os.path.join(directory, name), "rb") as f:
            data, at = f.read(), 0
        while at < len(data):
            head = data[at:at + 28]
            if len(head) < 28 or head[:4] != b"evf1":
                alarm(f"{name} offset {at}: no frame begins here")
                return
            length, crc, first, count, reserved = struct.unpack(">IIQII", head[4:])
            entries = data[at + 28:at + 28 + length]
            if len(entries) < length or reserved or crc != crc32c(head[:8], head[12:], entries):
                alarm(f"{name} offset {at}: the frame is damaged")
            if at == 0 and int(name[:20]) != first:
                alarm(f"{name}: named for another record than {first}")
            yield name, f"{name} offset {at}", first, count, entries
            at += 28 + length


CLASSES = {2: "content", 3: "push", 4: "policy"}  # those whose bodies are moved
counts = {"not opened": 0, "destroyed": 0}


def entries_of(entries):
    at = 0
    while at + 68 <= len(entries):
        stored = struct.unpack(">I", entries[at:at + 4])[0]
        yield entries[at + 4:at + 68], entries[at + 68:at + 68 + stored]
        at += 68 + stored
    yield None, at


def statements(segments):
    """What seal and destroy records say, by the name of a file."""
    sealed, destroyed = {}, set()
    for _, _, _, _, entries in frames(segments):
        for leaf, stored in entries_of(entries):
            if leaf is None or leaf[1] not in (9, 51):
                continue
            said = json.loads(stored[32:])
            if leaf[1] == 9:
                sealed[said["segment"]] = said["sha256"]
                sealed.update((b["file"], b["sha256"]) for b in said["bodies"])
            else:
                destroyed.update(f["file"] for f in said["files"])
    return sealed, destroyed


def body_file(path):
    """The entries of a body file by the indices of their records."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:8] != b"evb1\0\0\0\0":
        alarm(f"{path}: not a body file")
        return {}
    first, at, out = struct.unpack(">Q", data[8:16])[0], 16, {}
    while at + 8 <= len(data):
        index, length = struct.unpack(">II", data[at:at + 8])
        out[first + index] = data[at + 8:at + 8 + length]
        at += 8 + length
    return out


def check_body(index, leaf, body, moved):
    """Checks a stored body against its leaf, as far as that goes without a key."""
    size = struct.unpack(">I", leaf[28:32])[0]
    if leaf[3] & 0x10:
        terms = 0 if moved else 1 + 8 * body[16] if len(body) > 16 else 0
        counts["not opened"] += 1
        if len(body) != 16 + terms + 12 + 32 + size + 16:
            alarm(f"record {index}: the encrypted body has not its length")
    elif len(body) != 32 + size or leaf[32:] != sha256(b"ev1 body\n", leaf[4:20], body):
        alarm(f"record {index}: the body is not the one its leaf commits to")


def main(directory, vkey=None):
    if vkey is None:
        with open(os.path.join(directory, "log.vkey")) as f:
            vkey = f.read()
    key = Key(vkey)
    log = os.path.join(directory, "log", key.name.split("/")[-1])

    heads = {}
    with open(os.path.join(log, "checkpoint"), "rb") as f:
        latest = f.read()
    with open(os.path.join(log, "checkpoints.log"), "rb") as f:
        lines, note = f.read().split(b"\n"), []
    for line in lines:
        if not line and note and note[-1].startswith("\u2014 ".encode()):
            heads[len(heads)] = b"\n".join(note) + b"\n"
            note = []
        else:
            note.append(line)
    want = {}
    for note in list(heads.values()) + [latest]:
        head = key.open(note)
        if head is None:
            alarm("a checkpoint is not signed by the key")
        elif want.setdefault(head[0], head[1]) != head[1]:
            alarm(f"two roots are signed for {head[0]} records")

    generation = key.name.split("/")[-1]
    sealed, destroyed = statements(os.path.join(log, "seg"))
    for name, digest in sorted(sealed.items()):
        path = os.path.join(directory, *name.split("/"))
        if not os.path.exists(path):
            if name not in destroyed:
                alarm(f"{name}: is missing, and no record says why")
            continue
        with open(path, "rb") as f:
            if hashlib.sha256(f.read()).hexdigest() != digest:
                alarm(f"{name}: is not what was sealed")

    tree, before, checked, bodies = Tree(), 0, 0, {}
    for segment, where, first, count, entries in frames(os.path.join(log, "seg")):
        if first != tree.size:
            alarm(f"{where}: record {tree.size} is due, not {first}")
        n = 0
        for leaf, body in entries_of(entries):
            if leaf is None:
                at = body
                break
            recorded = struct.unpack(">Q", leaf[20:28])[0]
            if leaf[0] != 1 or recorded < before:
                alarm(f"record {tree.size}: wrong version, or older than the record before it")
            if body or leaf[2] not in CLASSES:
                check_body(tree.size, leaf, body, False)
            else:
                day = datetime.datetime.fromtimestamp(recorded // 10**9, datetime.timezone.utc).strftime("%Y-%m-%d")
                name = f"body/{CLASSES[leaf[2]]}/{day}/{generation}-{segment[:20]}.body"
                path = os.path.join(directory, *name.split("/"))
                if name not in bodies:
                    bodies[name] = body_file(path) if os.path.exists(path) else None
                if bodies[name] is None and name in destroyed:
                    counts["destroyed"] += 1
                elif bodies[name] is None or tree.size not in bodies[name]:
                    alarm(f"record {tree.size}: its body is gone, and no record says why")
                else:
                    check_body(tree.size, leaf, bodies[name][tree.size], True)
            before = recorded
            tree.append(leaf)
            if tree.size in want:
                checked += 1
                if want.pop(tree.size) != tree.root():
                    alarm(f"the head of {tree.size} records has another root than the records")
            n += 1
        if at != len(entries) or n != count:
            alarm(f"{where}: the records do not fill the frame")
    for size in want:
        alarm(f"{size} records are signed, {tree.size} are here")
    print("origin", key.name)
    print("records", tree.size)
    print("heads", checked)
    for what, n in counts.items():
        if n:
            print(what, n)
    if tree.size:
        print("root", base64.b64encode(tree.root()).decode())
    return 1 if alarms else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, ValueError, TypeError) as e:
        print("could not check:", e)
        sys.exit(2)
