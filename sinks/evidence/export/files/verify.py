#!/usr/bin/env python3
"""Checks a package of Weir evidence with nothing but Python's standard library.

    verify.py --key KEY... [--package-key KEY] [--witness KEY]... [PACKAGE]

PACKAGE is the directory, or the .tar, that was handed over; without it the one this
file lies in. KEY is the public key of the evidence log as the organisation has
published it: a PEM file, a file with the line <origin>+<hash>+<key>, or that line
itself. --package-key is the key that signed the package, if it is another one. Where
records of other logs explain what is gone (data/others), give --key once for each.
--witness is the key of a witness that has signed heads of the log, as it publishes it.

Exit status: 0 everything holds, 1 something does not, 2 could not check. Without
--key the signatures are checked with the keys in the package, which whoever forged
the package could have put there: that is a status of 2 at best.
"""

import base64
import csv
import datetime
import hashlib
import io
import ipaddress
import json
import os
import re
import struct
import sys
import tarfile
import tempfile

KINDS = {1: "genesis", 2: "start", 3: "stop", 4: "ruleset", 5: "coverage", 6: "gap", 7: "incident", 8: "erase",
         9: "seal", 10: "anchor", 11: "rotation", 12: "damaged", 13: "heartbeat", 14: "timestamp",
         16: "hit", 17: "push", 18: "deadletter", 19: "breach", 20: "recall", 21: "consent", 32: "access", 33: "export",
         48: "hold", 49: "release", 50: "destroy-plan", 51: "destroy", 52: "destroyed", 53: "shred", 54: "restricted"}
CLASSES = {0: "none", 1: "audit", 2: "content", 3: "push", 4: "policy"}
MESSAGES = {16: "Verdict", 17: "Verdict", 18: "DeadLetter", 19: "Breach", 20: "Recall", 21: "Consent"}


class Fault(Exception):
    """Something in the package is not as it must be."""


def sha256(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p)
    return h.digest()


def b64(text):
    return base64.b64decode(text, validate=True)


# Ed25519 verification, RFC 8032 section 6.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
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


SPKI = bytes.fromhex("302a300506032b6570032100")


class Key:
    """A public key: of a PEM file, or of a line <name>+<hash>+<key>."""

    def __init__(self, given):
        text = given
        if os.path.exists(given):
            with open(given, encoding="utf-8") as f:
                text = f.read().strip()
        if "BEGIN PUBLIC KEY" in text:
            der = b64("".join(line for line in text.split("\n") if "-" not in line).replace("\r", ""))
            if der[:len(SPKI)] != SPKI or len(der) != 44:
                raise ValueError("not an Ed25519 public key: " + given)
            self.name, self.public = None, der[len(SPKI):]
            return
        part = text.split("+", 2)
        if len(part) != 3:
            raise ValueError("neither a file nor a public key: " + given)
        data = b64(part[2])
        if len(data) != 33 or data[0] != 1 or sha256(part[0].encode(), b"\n", data)[:4].hex() != part[1]:
            raise ValueError("not an Ed25519 verifier key: " + given)
        self.name, self.public = part[0], data[1:]

    def open(self, note, what):
        """Returns the text of a signed note (C2SP signed-note) that this key signed."""
        text, found, signatures = note.decode("utf-8").rpartition("\n\n")
        if not found or not signatures.endswith("\n"):
            raise Fault(what + ": not a signed note")
        text += "\n"
        for line in signatures.splitlines():
            m = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
            if not m:
                raise Fault(what + ": not a signed note")
            name, sig = m.group(1), b64(m.group(2))
            if sig[:4] != sha256(name.encode(), b"\n\x01", self.public)[:4] or self.name not in (None, name):
                continue
            if not ed25519(self.public, text.encode(), sig[4:]):
                raise Fault(what + ": the signature is wrong")
            return name, text
        raise Fault(what + ": not signed by the key that was given")


class Witness:
    """A witness's key (C2SP tlog-cosignature): a line <name>+<hash>+<key>, or a file with it."""

    def __init__(self, given):
        if os.path.exists(given):
            with open(given, encoding="utf-8") as f:
                given = f.read().strip()
        part = given.split("+", 2)
        data = b64(part[2]) if len(part) == 3 else b""
        if len(data) != 33 or data[0] != 4 or sha256(part[0].encode(), b"\n", data)[:4].hex() != part[1]:
            raise ValueError("not the key of an Ed25519 cosigner: " + given)
        self.name, self.hash, self.public = part[0], part[1], data[1:]

    def time(self, note):
        """When this witness signed a checkpoint, in seconds; None if it has not."""
        text, _, signatures = note.rpartition("\n\n")
        for line in signatures.splitlines():
            m = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
            if not m or m.group(1) != self.name or b64(m.group(2))[:4].hex() != self.hash:
                continue
            sig = b64(m.group(2))
            at = int.from_bytes(sig[4:12], "big")
            if len(sig) == 76 and ed25519(self.public, f"cosignature/v1\ntime {at}\n{text}\n".encode(), sig[12:]):
                return at
            return None
        return None


# The tree of RFC 6962.


def leaf_hash(leaf):
    return sha256(b"\0", leaf)


class Tree:
    """Takes complete nodes from left to right and keeps the roots of complete subtrees."""

    def __init__(self):
        self.stack, self.size = [], 0

    def add(self, level, h):
        self.size += 1 << level
        while self.stack and self.stack[-1][0] == level:
            h = sha256(b"\1", self.stack.pop()[1], h)
            level += 1
        self.stack.append((level, h))

    def root(self):
        h = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            h = sha256(b"\1", left, h)
        return h


def cover(first, end):
    """The levels of the complete nodes whose leaves are those from first up to end."""
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield level
        first += 1 << level


def inclusion(index, size, h, path):
    """The root that an inclusion proof (RFC 6962 section 2.1.1) leads to, or None."""
    at, last = index, size - 1
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            h = sha256(b"\1", sibling, h)
            while not at & 1:
                at >>= 1
                last >>= 1
                if at == 0 and last == 0:
                    return None
        else:
            h = sha256(b"\1", h, sibling)
        at >>= 1
        last >>= 1
    return h if last == 0 else None


def begins(first, first_root, size, root, path):
    """Whether a consistency proof (RFC 6962 section 2.1.2) shows that the tree of size begins with that of first."""
    if first == size:
        return not path and first_root == root
    if not 0 < first < size:
        return False
    if first & (first - 1) == 0:
        path = [first_root] + path
    if not path:
        return False
    at, last = first - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for h in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = sha256(b"\1", h, old), sha256(b"\1", h, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = sha256(b"\1", new, h)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == root


# Bodies in protobuf, by the text of schema/body.proto.


class Schema:
    def __init__(self, text):
        self.messages, self.enums = {}, {}
        text = re.sub(r"//[^\n]*", "", text)
        for what, name, block in re.findall(r"\b(message|enum)\s+(\w+)\s*\{([^}]*)\}", text):
            if what == "enum":
                prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_"
                words = {}
                for word, n in re.findall(r"(\w+)\s*=\s*(\d+)\s*;", block):
                    word = word[len(prefix):] if word.startswith(prefix) else word
                    words[int(n)] = word.lower().replace("_", "-")
                self.enums[name] = words
            else:
                self.messages[name] = {int(n): (label, kind, field) for label, kind, field, n in
                                       re.findall(r"(optional\s+|repeated\s+|)(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", block)}

    def decode(self, name, data):
        out = {}
        for label, kind, field in self.messages[name].values():
            if label.startswith("repeated"):
                out[field] = []
            elif label.startswith("optional") or kind in self.messages:
                out[field] = None
            else:
                out[field] = "" if kind == "string" else b"" if kind == "bytes" else False if kind == "bool" else 0
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                value, at = varint(data, at)
            elif wire == 2:
                size, at = varint(data, at)
                value, at = data[at:at + size], at + size
                if at > len(data):
                    raise Fault("a body ends inside a field")
            elif wire in (1, 5):
                value, at = None, at + (8 if wire == 1 else 4)
            else:
                raise Fault("a body is not protobuf")
            if number not in self.messages[name]:
                continue  # of a later version
            label, kind, field = self.messages[name][number]
            if kind in self.messages:
                value = self.decode(kind, value)
            elif kind == "string":
                value = value.decode("utf-8")
            elif kind != "bytes":
                if wire == 2:  # many numbers packed into one field
                    many, i = [], 0
                    while i < len(value):
                        n, i = varint(value, i)
                        many.append(number_of(kind, n))
                    out[field].extend(many)
                    continue
                value = number_of(kind, value)
            if label.startswith("repeated"):
                out[field].append(value)
            else:
                out[field] = value
        return out

    def word(self, enum, n):
        word = self.enums[enum].get(n, str(n))
        return "" if word in ("unspecified", "named") else word


def varint(data, at):
    n = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Fault("a body is not protobuf")
        b = data[at]
        n |= (b & 127) << shift
        at, shift = at + 1, shift + 7
        if b < 128:
            return n & (1 << 64) - 1, at


def number_of(kind, n):
    if kind.startswith("sint"):
        return (n >> 1) ^ -(n & 1)
    if kind == "bool":
        return n != 0
    if kind in ("int32", "int64") and n >> 63:
        return n - (1 << 64)
    return n


def stamp(seconds, ns=0):
    seconds, ns = seconds + ns // 10**9, ns % 10**9
    t = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    fraction = f".{ns:09d}".rstrip("0") if ns else ""
    return t.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + fraction + "Z"


def maybe(seconds, ns=0):
    return "" if seconds is None else stamp(seconds, ns)


def short(d, *keep):
    """Leaves out what is empty, as the JSON does, but for what is always there."""
    return {k: v for k, v in d.items() if k in keep or (v not in ("", None, [], False) and not (v == 0 and isinstance(v, int)))}


def b64url(b):
    return base64.urlsafe_b64encode(b).decode().rstrip("=")


class Reader:
    """Says what bodies say, in the names and words of docs/schemas/evidence.json."""

    def __init__(self, schema):
        self.schema = schema
        self.word = schema.word

    def read(self, kind, data):
        name = MESSAGES.get(kind)
        if name is None or name not in self.schema.messages:
            raise Fault(f"a record of kind {kind} has no body in protobuf")
        return getattr(self, name.lower())(self.schema.decode(name, data))

    def named(self, enum, code, name):
        return self.word(enum, code) if code else name

    def verdict(self, v):
        push = v["push"]
        origin, key = self.origin(v["origin"], v["account"])
        hits = []
        for h in v["hits"]:
            hits.append(short({
                "rule": h["rule"], "category": h["category"], "severity": self.word("Severity", h["severity"]),
                "state": "shadow" if h["shadow"] else "", "field": h["field"], "start": h["start"], "end": h["end"],
                "start_utf16": h["start_utf16"], "end_utf16": h["end_utf16"], "text": h["text"], "form": h["form"],
                "confidence": "low" if h["weak"] else "high",
            }, "rule", "category", "severity", "field", "start", "end", "start_utf16", "end_utf16", "text", "form"))
        return short({
            "event_id": v["event_id"], "kind": "push" if push else "post", "action": self.word("Action", v["action"]),
            "decision": self.word("Decision", v["decision"]), "reason": self.word("Reason", v["reason"]), "hits": hits,
            "rules": v["rules"].hex(), "fold": v["fold"], "policy": v["policy"].hex(),
            "user": short({"id": v["account"], "group": self.named("Group", v["group"], v["group_name"]), "verified": v["verified"]}, "id"),
            "time": stamp(v["time_ms"] // 1000, v["time_ms"] % 1000 * 1000000 + v["time_ns"]), "operation": v["operation"] or ("push.send" if push else "post.create"),
            "attachments": [short(dict(a), "uri") for a in v["attachments"]],
            "push": self.push(push, v) if push else None, "client": self.endpoint(v["client"]), "server": self.endpoint(v["server"]),
            "origin": origin, "key_sha256": key, "original": self.original(v["original"]), "reduced": v["reduced"],
        }, "event_id", "action", "reason", "hits", "rules", "user", "time", "operation", "origin", "original")

    def push(self, p, v):
        return short({
            "class": self.named("Class", p["class"], p["class_name"]), "channel": self.named("Channel", p["channel"], p["channel_name"]),
            "campaign": p["campaign"], "sender": p["sender"], "label": p["label"], "personalised": p["personalised"],
            "expires": maybe(p["expires"], p["expires_ns"]), "decision": self.proof(p["proof"], v) if p["proof"] else None,
        }, "class", "channel")

    def proof(self, p, v):
        def after(seconds, ns=0):
            return "" if seconds is None else stamp(p["at"] + seconds, ns)

        group = p["group"]
        if p["group_source"] and not group:
            group = self.named("Group", v["group"], v["group_name"])
        local = ""
        if p["utc_offset"] is not None:
            off = p["utc_offset"]
            zone = "Z" if off == 0 else "%s%02d:%02d" % ("-" if off < 0 else "+", abs(off) // 3600, abs(off) // 60 % 60)
            local = stamp(p["at"] + off)[:-1] + zone
        halt, limit = p["halt"], p
        if 0 < p["reached"] <= len(p["limits"]):
            reached = p["limits"][p["reached"] - 1]
            limit = {"limit": reached["id"], "count": reached["count"], "max": reached["max"]}
        return short({
            "decision": self.word("Decision", v["decision"]), "reason": self.word("Reason", v["reason"]), "limit": limit["limit"],
            "count": limit["count"], "max": limit["max"], "not_before": after(p["not_before"]), "release": after(p["release"], p["release_ns"]),
            "not_after": after(p["not_after"], p["not_after_ns"]), "replay": p["replay"], "mark": p["mark"].hex(),
            "flags": [self.word("Flag", f) for f in p["flags"]], "at": stamp(p["at"]), "policy_version": p["policy_version"],
            "pseudonym": b64url(p["pseudonym"]), "pseudonym_key": p["pseudonym_key"].hex(),
            "halt": halt and short({
                "scope": self.word("Scope", halt["scope"]), "value": halt["value"], "since": stamp(halt["since"], halt["since_ns"]),
                "why": halt["why"], "by": halt["by"], "id": halt["id"]}, "scope", "value", "since"),
            "consent": self.consented(p["consent_version"], p["consent_state"], p["consent_since"]),
            "group": group, "group_source": self.word("GroupSource", p["group_source"]), "zone": p["zone"],
            "zone_source": self.word("ZoneSource", p["zone_source"]), "local_time": local,
            "quiet": ["%02d:%02d-%02d:%02d" % (a // 60, a % 60, b // 60, b % 60) for a, b in zip(p["quiet"][::2], p["quiet"][1::2])],
            "deadline": after(p["deadline"], p["deadline_ns"]),
            "limits": [{"id": x["id"], "from": stamp(p["at"] - x["window"]), "count": x["count"], "max": x["max"],
                        "by": self.word("Bound", x["by"])} for x in p["limits"]],
            "log_size": p["log_size"],
        }, "decision", "reason", "at")

    def consented(self, version, state, since):
        if not state:
            return None
        return short({"version": version, "state": self.word("ConsentState", state), "since": maybe(since)}, "state")

    def endpoint(self, e):
        if e is None:
            return None
        address = e["address_text"]
        if len(e["address"]) in (4, 16):
            ip = ipaddress.ip_address(e["address"])
            mapped = getattr(ip, "ipv4_mapped", None)
            address = "::ffff:" + str(mapped) if mapped else str(ip)
        device = short({"model": e["device_model"], "os": e["device_os"], "id": e["device_id"], "app": e["device_app"]})
        return short({"address": address, "port": e["port"], "device": device or None})

    def origin(self, o, account):
        if o is None:
            return {"source": "", "topic": "", "partition": 0, "offset": 0}, ""
        t = o["timestamp_ms"]
        first = None
        if o["first_topic"]:
            first = {"topic": o["first_topic"], "partition": o["first_partition"], "offset": o["first_offset"]}
        key = sha256(account.encode()).hex() if o["key_is_account"] else o["key_sha256"].hex()
        return short({
            "source": o["source"], "topic": o["topic"], "partition": o["partition"], "offset": o["offset"],
            "timestamp": "" if t is None else stamp(t // 1000, t % 1000 * 1000000), "first": first, "deferrals": o["deferrals"],
        }, "source", "topic", "partition", "offset"), key

    def original(self, o):
        if o is None:
            return {"sha256": "", "bytes": 0}
        return short({"sha256": o["sha256"].hex(), "bytes": o["bytes"], "value": base64.b64encode(o["value"]).decode()}, "sha256", "bytes")

    def deadletter(self, d):
        origin, key = self.origin(d["origin"], "")
        return short({
            "kind": self.word("Kind", d["kind"]), "stage": self.word("Stage", d["stage"]), "reason": d["reason"], "detail": d["detail"],
            "rules": d["rules"].hex(), "origin": origin, "key_sha256": key, "original": self.original(d["original"]),
        }, "kind", "stage", "reason", "rules", "origin", "original")

    def breach(self, b):
        return short({
            "cause": self.word("Cause", b["cause"]), "limit": b["limit"], "count": b["count"], "max": b["max"], "size": b["count"] - b["max"],
            "window_from": maybe(b["window_from"]), "window_to": stamp(b["window_to"]), "group": b["group"],
            "pseudonym": b64url(b["pseudonym"]), "pseudonym_key": b["pseudonym_key"].hex(), "policy_version": b["policy_version"],
            "policy": b["policy"].hex(), "from": maybe(b["from"], b["from_ns"]), "to": maybe(b["to"], b["to_ns"]),
        }, "cause", "limit", "count", "max", "size", "window_to", "pseudonym", "pseudonym_key", "policy_version", "policy")

    def recall(self, r):
        return short({
            "mark": r["mark"].hex(), "class": r["class"], "channel": r["channel"], "allowed_at": stamp(r["allowed_at"]),
            "reason": self.word("Reason", r["reason"]), "policy": r["policy"].hex(),
            "consent": self.consented(r["consent_version"], r["consent_state"], r["consent_since"]),
            "pseudonym": b64url(r["pseudonym"]), "pseudonym_key": r["pseudonym_key"].hex(), "origin": self.origin(r["origin"], "")[0],
        }, "mark", "class", "channel", "allowed_at", "reason", "policy", "pseudonym", "pseudonym_key", "origin")

    def consent(self, c):
        out = short({
            "event_id": c["event_id"], "time": stamp(c["time"], c["time_ns"]), "version": c["version"], "group": c["group"],
            "zone": c["zone"], "quiet": c["quiet"],
            "grants": [short({"class": g["class"], "channel": g["channel"], "granted": g["granted"], "time": stamp(g["time"], g["time_ns"]),
                              "method": g["method"], "text_version": g["text_version"]}, "class", "channel", "granted", "time")
                       for g in c["grants"]],
            "pseudonym": b64url(c["pseudonym"]), "pseudonym_key": c["pseudonym_key"].hex(), "origin": self.origin(c["origin"], "")[0],
            "original": self.original(c["original"]), "reduced": c["reduced"],
        }, "event_id", "time", "version", "grants", "pseudonym", "pseudonym_key", "origin", "original")
        if c["daily_max"] is not None:
            out["daily_max"] = c["daily_max"]
        return out


def unique(pairs):
    """A JSON object in which a name stands twice could be read in two ways."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise Fault("a JSON object has a name twice")
    return out


class Package:
    def __init__(self, root, log_keys, package_keys, witnesses):
        self.root, self.log_keys, self.package_keys, self.witnesses = root, log_keys, package_keys, witnesses
        self.alarms, self.proofs_used = 0, set()
        self.extraction = self.trust = None

    def alarm(self, text):
        self.alarms += 1
        print("ALARM:", text)

    def step(self, text, fn):
        before = self.alarms
        try:
            said = fn()
        except (Fault, ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, OverflowError, struct.error) as e:
            self.alarm(f"{text}: {type(e).__name__ + ': ' if not isinstance(e, Fault) else ''}{e}")
            return
        if self.alarms == before:
            print(f"ok     {text}{': ' + said if said else ''}")

    def read(self, name):
        with open(os.path.join(self.root, *name.split("/")), "rb") as f:
            return f.read()

    def load(self, name):
        return json.loads(self.read(name).decode("utf-8"), object_pairs_hook=unique)

    def lines(self, name):
        data = self.read(name).decode("utf-8")
        return [json.loads(line, object_pairs_hook=unique) for line in data.split("\n") if line]

    # 1. The files are those that were put together.

    def files(self):
        here = set()
        for folder, dirs, names in os.walk(self.root):
            for n in names + [d for d in dirs if os.path.islink(os.path.join(folder, d))]:
                path = os.path.join(folder, n)
                if os.path.islink(path):
                    raise Fault("a link, which no package has: " + n)
                here.add(os.path.relpath(path, self.root).replace(os.sep, "/"))
        listed = {}
        for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            for line in self.read(manifest).decode("utf-8").splitlines():
                m = re.fullmatch("([0-9a-f]{64})  (.+)", line)
                if not m or m.group(2) in listed or (m.group(2).startswith("data/") != (manifest[0] == "m")):
                    raise Fault(f"{manifest}: {line!r} should not stand there")
                listed[m.group(2)] = m.group(1)
        for name in sorted(here - set(listed)):
            if name != "tagmanifest-sha256.txt" and not name.startswith("signatures/"):
                self.alarm(f"{name}: is in no manifest")
        size = 0
        for name, want in sorted(listed.items()):
            if name not in here:
                self.alarm(f"{name}: is missing")
                continue
            data = self.read(name)
            size += len(data) if name.startswith("data/") else 0
            if sha256(data).hex() != want:
                self.alarm(f"{name}: is not what it was")
        count = sum(n.startswith("data/") for n in listed)
        if f"Payload-Oxum: {size}.{count}\n" not in self.read("bag-info.txt").decode("utf-8"):
            self.alarm("bag-info.txt: Payload-Oxum does not count the files that are here")
        if self.read("bagit.txt") != b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n":
            self.alarm("bagit.txt: not that of BagIt 1.0")
        return f"{len(listed)} files, {size} bytes of payload"

    # 2. Who signed.

    def signed(self):
        self.extraction, self.trust = self.load("data/extraction.json"), self.load("data/keys/trust.json")
        log, package = Key(self.trust["log_key"]), Key(self.trust["package_key"])
        self.log_key, self.package_key = ((([k for k in given if k.public == inside.public] or given or [None])[0])
                                          for given, inside in ((self.log_keys, log), (self.package_keys, package)))
        for inside, file, given, what in ((log, "log_key_file", self.log_key, "log"), (package, "package_key_file", self.package_key, "package")):
            with open(os.path.join(self.root, "data", *self.trust[file].split("/")), encoding="utf-8") as f:
                pem = f.read()
            if sha256(b64("".join(pem.strip().split("\n")[1:-1]))) != sha256(SPKI + inside.public):
                self.alarm(f"data/{self.trust[file]}: another key than in trust.json")
            if given and given.public != inside.public:
                self.alarm(f"the package names another {what} key than the one that was given")
        self.log_key, self.package_key = self.log_key or log, self.package_key or package
        name, text = self.package_key.open(self.read("signatures/tagmanifest.note"), "signatures/tagmanifest.note")
        want = f"weir evidence package 1\n{sha256(self.read('tagmanifest-sha256.txt')).hex()}\n{self.trust['origin']}\n"
        if text != want:
            raise Fault("signatures/tagmanifest.note: the signature is of another package")
        return f"the package by {name}"

    def head(self):
        self.generation = self.trust["origin"].split("/")[-1]
        self.log = f"data/log/{self.generation}/"
        self.checkpoint = self.read(self.log + "checkpoint")
        name, text = self.log_key.open(self.checkpoint, self.log + "checkpoint")
        lines = text.split("\n")
        if name != lines[0] or name != self.trust["origin"]:
            raise Fault("the signed head is of another log than " + self.trust["origin"])
        self.size, self.root_hash = int(lines[1]), b64(lines[2])
        return f"{self.size} records of {name}, root {lines[2]}"

    # 3. The leaves are those of the tree that was signed.

    def leaves(self):
        proof = self.load(self.log + "range.json")
        self.first, self.next = proof["first"], proof["next"]
        if proof["origin"] != self.trust["origin"] or proof["size"] != self.size or not 0 <= self.first <= self.next <= self.size:
            raise Fault("range.json: of another log or head")
        data = self.read(self.log + "leaves.bin")
        if len(data) != 64 * (self.next - self.first):
            raise Fault("leaves.bin: has not the leaves that range.json says")
        self.leaf = {self.first + i: data[64 * i:64 * i + 64] for i in range(self.next - self.first)}
        left, right = list(cover(0, self.first)), list(cover(self.next, self.size))
        if len(left) != len(proof["left"]) or len(right) != len(proof["right"]):
            raise Fault("range.json: not the nodes that are needed")
        tree, before = Tree(), 0
        for level, h in zip(left, proof["left"]):
            tree.add(level, b64(h))
        for index in range(self.first, self.next):
            tree.add(0, leaf_hash(self.leaf[index]))
            recorded = struct.unpack(">Q", self.leaf[index][20:28])[0]
            if recorded < before:
                self.alarm(f"record {index}: older than the record before it")
            before = recorded
        for level, h in zip(right, proof["right"]):
            tree.add(level, b64(h))
        if tree.size != self.size or tree.root() != self.root_hash:
            raise Fault("the leaves do not have the root that was signed")
        return f"records {self.first} to {self.next - 1} in their order" if self.leaf else "none"

    def others(self):
        """Records of other logs that explain what is gone of this one, each log by its own head."""
        self.elsewhere, self.unknown = {}, set()
        main, files = (self.log, self.checkpoint, self.size, self.root_hash, self.leaf, self.proofs_used), set()
        for o in self.trust.get("others", []):
            g = o["origin"].split("/")[-1]
            if o["origin"] == self.trust["origin"] or g in self.elsewhere or o["log_key_file"] != f"others/{g}/log.pem":
                raise Fault(f"trust.json: {o['origin']} is no other log, or is there twice")
            key = Key(o["log_key"])
            if Key(self.read("data/" + o["log_key_file"]).decode("utf-8").strip()).public != key.public:
                raise Fault(o["log_key_file"] + ": another key than in trust.json")
            self.log, self.leaf, self.proofs_used = f"data/others/{g}/", {}, set()
            self.checkpoint = self.read(self.log + "checkpoint")
            name, text = key.open(self.checkpoint, self.log + "checkpoint")
            lines = text.split("\n")
            if not name == lines[0] == o["origin"]:
                raise Fault(self.log + "checkpoint: of another log")
            self.size, self.root_hash = int(lines[1]), b64(lines[2])
            self.elsewhere[g] = self.records(self.log + "destroyed.jsonl")
            files |= {f"{g}/checkpoint", f"{g}/log.pem", f"{g}/destroyed.jsonl"} | {f"{g}/proofs/{n}" for n in self.proofs_used}
            if self.log_keys and all(k.public != key.public for k in self.log_keys):
                self.unknown.add(g)
        self.log, self.checkpoint, self.size, self.root_hash, self.leaf, self.proofs_used = main
        folder = os.path.join(self.root, "data", "others")
        here = {os.path.relpath(os.path.join(d, f), folder).replace(os.sep, "/") for d, _, names in os.walk(folder) for f in names}
        if here != files:
            self.alarm("others/: files that no record needs")

    def in_tree(self, index, leaf):
        if index in self.leaf:
            if self.leaf[index] != leaf:
                raise Fault(f"record {index}: its leaf is not the one in the log")
            return
        name = f"{self.log}proofs/{index}.tlog-proof"
        self.proofs_used.add(f"{index}.tlog-proof")
        head, _, checkpoint = self.read(name).partition(b"\n\n")
        lines = head.decode().split("\n")
        if lines[:2] != ["c2sp.org/tlog-proof@v1", f"index {index}"] or checkpoint != self.checkpoint:
            raise Fault(f"{name}: not a proof of record {index} against the signed head")
        if inclusion(index, self.size, leaf_hash(leaf), [b64(h) for h in lines[2:]]) != self.root_hash:
            raise Fault(f"record {index}: the proof does not lead to the signed root")

    # 4. The records are what the leaves commit to, and read as they say.

    def records(self, name):
        """Checks a file of records and returns them by index, each with its body in bytes."""
        out, before = {}, -1
        for line in self.lines(name):
            index, leaf = line["index"], b64(line["leaf"])
            if index <= before or len(leaf) != 64 or not 0 <= index < self.size:
                raise Fault(f"{name}: record {index} is out of place")
            before = index
            self.in_tree(index, leaf)
            recorded, size = struct.unpack(">QI", leaf[20:32])
            kind = leaf[1]
            said = (line["id"], line["kind"], line["class"], line["time"], line["encoding"])
            if said != (leaf[4:20].hex(), KINDS.get(kind, f"kind-{kind}"), CLASSES.get(leaf[2], f"class-{leaf[2]}"),
                        stamp(recorded // 10**9, recorded % 10**9), "protobuf" if leaf[3] & 15 == 1 else "json"):
                self.alarm(f"{name}: record {index}: id, kind, class, time or encoding are not those of its leaf")
            body = None
            if "file" in line:
                if not re.fullmatch(r"rules/[0-9a-f]+\.json", line["file"]):
                    raise Fault(f"{name}: record {index}: no file of rules: {line['file']}")
                body = self.read("data/" + line["file"])
            elif "salt" in line:
                body = b64(line.get("body", ""))
            if body is None:
                self.gone(name, line)
            else:
                salt = b64(line["salt"])
                if len(salt) != 32 or len(body) != size or leaf[32:] != sha256(b"ev1 body\n", leaf[4:20], salt, body):
                    self.alarm(f"{name}: record {index}: the body is not the one its leaf commits to")
                if line["verdict"] != "ok":
                    self.alarm(f"{name}: record {index}: its body is here, and the verdict is {line['verdict']!r}")
                self.reads(name, line, kind, leaf[3] & 15, body)
            out[index] = (kind, line, body)
        return out

    def gone(self, name, line):
        m = re.fullmatch(r"(destroyed|erased) \(see #(\d+)(?: of (\S+))?\)", line["verdict"])
        if "reading" in line or "content" in line:
            self.alarm(f"{name}: record {line['index']}: what it says is here, and the body that proves it is not")
        if m:
            n, generation = int(m.group(2)), m.group(3)
            which = f"{n} of {generation}" if generation else str(n)
            by = self.elsewhere.get(generation, {}).get(n) if generation else self.explained.get(n)
            if generation in self.unknown:
                self.alarm(f"{name}: record {line['index']}: record {which} is to say why its body is gone, and the key of that log was not given")
            elif by is None or not self.explains(m.group(1), by, line):
                self.alarm(f"{name}: record {line['index']}: record {which} does not say why its body is gone")
        elif line["verdict"] not in ("ok, body not opened", "erased"):
            self.alarm(f"{name}: record {line['index']}: {line['verdict']}: its body is gone, and no record says why")

    def explains(self, word, by, line):
        """Whether a destroy or shred record is about a record: it names a body file of its class
        and day, or keys of its class, or the record, or the record came after all it names."""
        kind, _, body = by
        if kind != (51 if word == "destroyed" else 53) or body is None:
            return False
        b, index = json.loads(body), line["index"]
        if kind == 53:
            ranges = [r for x in b.get("records") or [] if x["generation"] == self.generation for r in x["ranges"]]
            return any(r[0] <= index < r[1] for r in ranges) or index >= max([r[1] for r in ranges], default=0)
        file = f"body/{line['class']}/{line['time'][:10]}/{self.generation}-"
        return any(f["file"].startswith(file) for f in b.get("files") or []) or any(
            f.startswith(f"keys/{line['class']}/") for f in b.get("key_files") or [])

    def reads(self, name, line, kind, encoding, body):
        index = line["index"]
        if "file" in line:
            return
        want = None
        if encoding == 1:
            want = self.reader.read(kind, body)
        else:
            try:
                want = json.loads(body.decode("utf-8"))
            except ValueError:
                pass  # a body that only its bytes describe
        if line.get("reading") != want:
            self.alarm(f"{name}: record {index}: the reading is not what the body says")
        original = want.get("original", {}) if isinstance(want, dict) else {}
        value = b64(original["value"]) if isinstance(original, dict) and original.get("value") else None
        if (value is None) != ("content" not in line):
            self.alarm(f"{name}: record {index}: the message should {'not ' if value is None else ''}be under content/")
        elif value is not None:
            if line["content"] != f"content/{line['id']}.bin":
                raise Fault(f"{name}: record {index}: content is in a file of another name")
            self.contents.add(line["id"] + ".bin")
            if self.read("data/" + line["content"]) != value or sha256(value).hex() != original["sha256"] or len(value) != original["bytes"]:
                self.alarm(f"{name}: record {index}: the message is not the one the body holds")

    def bodies(self):
        self.reader = Reader(Schema(self.read("data/schema/body.proto").decode("utf-8")))
        self.contents, self.explained = set(), {}
        self.others()
        self.explained = self.records("data/destroyed.jsonl")
        self.holds = self.records("data/holds.jsonl")
        self.access = self.records("data/access.jsonl")
        self.found = self.records("data/records/records.jsonl")
        opened = sum(body is not None for _, _, body in self.found.values())
        for kinds, have, name in (((50, 51, 52, 53, 54), self.explained, "destroyed"), ((48, 49), self.holds, "holds")):
            for index, leaf in self.leaf.items():
                if leaf[1] in kinds and index not in have:
                    self.alarm(f"record {index}: is not in {name}.jsonl")
            if any(kind not in kinds for kind, _, _ in have.values()):
                self.alarm(f"{name}.jsonl: holds records of other kinds")
        folder = os.path.join(self.root, "data", "content")
        if set(os.listdir(folder) if os.path.isdir(folder) else []) != self.contents:
            self.alarm("content/: files that no record names")
        return f"{len(self.found)} records, {opened} with their bodies"

    def anchored(self):
        """Heads that others have signed are the log's, and the signed head begins with them."""
        have, used, said = {}, set(), []
        if os.path.exists(os.path.join(self.root, "data", "anchors.jsonl")):
            have = self.records("data/anchors.jsonl")
        if any(kind not in (10, 14) for kind, _, _ in have.values()):
            self.alarm("anchors.jsonl: holds records of other kinds")
        for index, (kind, _, body) in sorted({**self.found, **have}.items()):
            if kind not in (10, 14) or body is None:
                continue
            b = json.loads(body)
            for by, checkpoint in [(c["witness"], c["checkpoint"]) for c in b.get("cosigned") or []] if kind == 10 else [(None, b["checkpoint"])]:
                _, text = self.log_key.open(checkpoint.encode(), f"record {index}: a head that others have signed")
                size, root = int(text.split("\n")[1]), b64(text.split("\n")[2])
                name, met = f"{self.log}consistency/{size}", (size, root) == (self.size, self.root_hash)
                if os.path.exists(os.path.join(self.root, *name.split("/"))):
                    used.add(str(size))
                    met = True
                    if not begins(size, root, self.size, self.root_hash, [b64(x) for x in self.read(name).decode().split("\n")[:-1]]):
                        self.alarm(f"record {index}: the signed head does not begin with the head of {size} records that others have signed")
                if by is None:
                    said.append(f"time-stamp of {b['time']} over the first {size} records: not checked here, see weir evidence verify --timestamp-ca")
                    continue
                if not met:
                    said.append(f"witness {by}, over the first {size} records: nothing here shows that they are this log's")
                    continue
                keys = [k for k in self.witnesses if k.name == by]
                times = [t for t in (k.time(checkpoint) for k in keys) if t is not None]
                if keys and not times:
                    self.alarm(f"record {index}: the witness {by} has not signed the head of {size} records")
                elif keys:
                    said.append(f"witness {by}: the first {size} records were there at {stamp(times[0])}")
                else:
                    said.append(f"witness {by}, over the first {size} records: not checked, no key given (--witness)")
        folder = os.path.join(self.root, *self.log.split("/"), "consistency")
        if set(os.listdir(folder) if os.path.isdir(folder) else []) != used:
            self.alarm("consistency/: files that no record needs")
        return "; ".join(said) or "none"

    # 5. The accounts add up, the rules are those that are cited.

    def accounts(self):
        have = self.records("data/coverage.jsonl")
        rows = [["record", "time", "what", "topic", "partition", "first", "next", "fetched", "passed", "flagged", "dead_lettered", "skipped", "rules", "policy"]]
        for index, (kind, line, body) in sorted(have.items()):
            if kind not in (5, 6) or body is None:
                raise Fault(f"coverage.jsonl: record {index} is no account")
            b = json.loads(body)
            begin = [str(index), line["time"], line["kind"]]
            if kind == 6:
                rows.append(begin + [b["topic"]] + [str(b[n]) for n in ("partition", "first", "next")] + [""] * 7)
                continue
            for r in b["ranges"]:
                rows.append(begin + [r["topic"]] + [str(r[n]) for n in ("partition", "first", "next", "fetched", "passed", "flagged", "dead_lettered", "skipped")]
                            + [r.get("rules", ""), r.get("policy", "")])
                if r["fetched"] != r["passed"] + r["flagged"] + r["dead_lettered"] + r["skipped"]:
                    self.alarm(f"record {index}: the account of {r['topic']}/{r['partition']} does not add up")
        if list(csv.reader(io.StringIO(self.read("data/coverage.csv").decode("utf-8"), newline=""))) != rows:
            self.alarm("coverage.csv: is not what the coverage records say")
        for index, leaf in self.leaf.items():
            if leaf[1] in (5, 6) and index not in have:
                self.alarm(f"record {index}: is not in coverage.jsonl")
        return f"{len(have)} records account for offsets"

    def rules(self):
        have = self.records("data/rules.jsonl")
        files = set()
        for index, (_, line, body) in have.items():
            files.add(line["file"].split("/")[1])
            if line["file"] != "rules/" + json.loads(body)["rules"] + ".json":
                self.alarm(f"record {index}: {line['file']}: holds the rules of another digest")
        folder = os.path.join(self.root, "data", "rules")
        if set(os.listdir(folder) if os.path.isdir(folder) else []) != files:
            self.alarm("rules/: files that no record names")
        return f"{len(have)} rule sets"

    # 6. The package is the one that the log says was handed out.

    def order(self):
        x = self.extraction
        kind, _, body = self.access[x["export"]]
        b = json.loads(body)
        for name in ("who", "recipient", "purpose", "basis", "scope", "records"):
            if kind != 33 or b.get(name) != x[name]:
                self.alarm(f"extraction.json: {name} is not what the log says of this export")
        if b.get("reference", "") != x["reference"]:
            self.alarm("extraction.json: reference is not what the log says of this export")
        if (x["origin"], x["size"], b64(x["root"]), x["first"], x["next"]) != (self.trust["origin"], self.size, self.root_hash, self.first, self.next):
            self.alarm("extraction.json: speaks of another log, head or range")
        if len(self.found) != x["records"]:
            self.alarm(f"{x['records']} records were handed out, {len(self.found)} are here")
        used = self.proofs_used
        folder = os.path.join(self.root, *self.log.split("/"), "proofs")
        if set(os.listdir(folder) if os.path.isdir(folder) else []) != used:
            self.alarm("proofs/: files that no record needs")
        scope = b["scope"]
        if any(n in scope for n in ("ids", "event", "subject", "category", "rule")):
            return "records outside the request are here as leaves only"
        for index, leaf in self.leaf.items():
            if index not in self.found and ("kinds" not in scope or KINDS.get(leaf[1]) in scope["kinds"]):
                self.alarm(f"record {index}: was asked for and is not here")
        return "every record that was asked for is here"

    def verify(self):
        self.step("files", self.files)
        for text, fn in (("signature", self.signed), ("signed head", self.head), ("leaves", self.leaves), ("records", self.bodies), ("anchors", self.anchored),
                         ("coverage", self.accounts), ("rules", self.rules), ("export", self.order)):
            before = self.alarms
            self.step(text, fn)
            if self.alarms > before and text in ("signature", "signed head", "leaves"):
                print("       the rest cannot be checked")
                return


def unpack(name, folder):
    """Takes a .tar apart; its files have plain names below one folder."""
    with tarfile.open(name, "r:") as tar:
        for m in tar:
            part = m.name.split("/")
            if not m.isfile() or len(part) < 2 or any(p in ("", ".", "..") or os.sep in p or "\\" in p or ":" in p for p in part):
                raise Fault(f"{m.name!r}: no file of a package")
            path = os.path.join(folder, *part[1:])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as f:
                f.write(tar.extractfile(m).read())


def main(args):
    keys, root = {"--key": [], "--package-key": [], "--witness": []}, None
    while args:
        arg = args.pop(0)
        if arg in keys:
            keys[arg].append((Witness if arg == "--witness" else Key)(args.pop(0)))
        elif arg.startswith("-") or root:
            print(__doc__)
            return 2
        else:
            root = arg
    root = root or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with tempfile.TemporaryDirectory() as folder:
        if os.path.isfile(root):
            unpack(root, folder)
            root = folder
        if not os.path.isdir(os.path.join(root, "data")):
            print("could not check: no package in", root)
            return 2
        package = Package(root, keys["--key"], keys["--package-key"] or keys["--key"], keys["--witness"])
        package.verify()
    if package.alarms:
        print(f"FAILED: {package.alarms} alarm{'s' if package.alarms > 1 else ''}")
        return 1
    if not keys["--key"]:
        print("UNPROVEN: the package agrees with itself, but not even its keys are known to be the organisation's; give --key")
        return 2
    print("everything holds")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError, IndexError, Fault, tarfile.TarError) as e:
        print("could not check:", e)
        sys.exit(2)
