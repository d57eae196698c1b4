#!/usr/bin/env python3
"""Reads a body of an evidence record, as somebody would who has FORMAT.md and body.proto and nothing else.

    read.py body.proto MESSAGE < BODY

prints one line for each value: its path and what it is. Standard library only.
"""
import re
import sys


def describe(text):
    """Returns the messages, {name: {number: (field, type, repeated)}}, and the enums, {name: {number: value}}."""
    messages, enums, inside = {}, {}, None
    for line in text.splitlines():
        line = line.split("//")[0].strip()
        if m := re.fullmatch(r"(message|enum) (\w+) \{", line):
            inside = (messages if m[1] == "message" else enums).setdefault(m[2], {})
        elif m := re.fullmatch(r"(?:(optional|repeated) )?(\w+) (\w+) = (\d+);", line):
            inside[int(m[4])] = (m[3], m[2], m[1] == "repeated")
        elif m := re.fullmatch(r"(\w+) = (\d+);", line):
            inside[int(m[2])] = m[1]
    return messages, enums


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def number(kind, value, enums):
    if kind in enums:
        return enums[kind].get(value, str(value))
    if kind == "bool":
        return "true" if value else "false"
    if kind.startswith("sint"):
        return str(value >> 1 ^ -(value & 1))
    if kind.startswith("int") and value >> 63:
        return str(value - (1 << 64))
    return str(value)


def read(data, name, path, messages, enums):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise ValueError("cut short")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError("no body of Weir has wire type %d" % wire)
        if field not in messages[name]:
            continue  # of a later version
        label, kind, repeated = messages[name][field]
        here = path + label
        if wire == 0:
            print(here + ": " + number(kind, value, enums))
        elif kind in messages:
            read(value, kind, here + ".", messages, enums)
        elif kind == "string":
            print(here + ": " + value.decode("utf-8"))
        elif kind == "bytes":
            print(here + ": " + value.hex())
        elif repeated:  # numbers, packed
            inner = 0
            while inner < len(value):
                one, inner = varint(value, inner)
                print(here + ": " + number(kind, one, enums))
        else:
            raise ValueError(here + " is no " + kind)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    messages, enums = describe(open(sys.argv[1], encoding="utf-8").read())
    read(sys.stdin.buffer.read(), sys.argv[2], "", messages, enums)
