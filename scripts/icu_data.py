#!/usr/bin/env python3
"""Writes the part of ICU's data that the program can need, for packages, and prints the name of an assembler file.

The statically linked Foundation brings 34 MB: names, collations and formats of every language, tables of
character sets, and dictionaries for word breaks. The program speaks English and reads UTF-8; without them ICU
falls back to its root locale. CBuildInfo includes the file, whose symbol takes the place of the library's.
"""

import argparse
import hashlib
import json
import pathlib
import re
import struct
import subprocess

# A locale's resource bundle; other bundles have longer names.
LOCALE = re.compile(r"[a-z]{2,3}(_\w*)?\.res")
KEPT_LOCALES = {"en", "en_001", "en_US", "en_US_POSIX"}


def is_kept(name: str) -> bool:
    """Whether an item of the data, such as coll/de.res, is kept."""
    folder, _, file = name.rpartition("/")
    if file.endswith((".cnv", ".dict")) or folder == "translit":
        return False
    return not LOCALE.fullmatch(file) or file.removesuffix(".res") in KEPT_LOCALES


def items(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The header and the named items of a package of ICU's data."""
    header, magic, fmt = struct.unpack_from("<H", data)[0], data[2:4], data[12:16]
    if magic != b"\xda\x27" or fmt != b"CmnD":
        raise ValueError("not ICU's common data")
    count = struct.unpack_from("<I", data, header)[0]
    entries = [struct.unpack_from("<II", data, header + 4 + 8 * index) for index in range(count)]
    ends = [offset for _, offset in entries[1:]] + [len(data) - header]
    found = []
    for (name, start), end in zip(entries, ends):
        at = header + name
        found.append((data[at:data.index(b"\0", at)].decode(), data[header + start:header + end]))
    return data[:header], found


def package(header: bytes, kept: list[tuple[str, bytes]]) -> bytes:
    """A package of `kept`, whose names are in order."""
    names = b"".join(name.encode() + b"\0" for name, _ in kept)
    at = 4 + 8 * len(kept)
    start = at + len(names)
    table, body = struct.pack("<I", len(kept)), b""
    for name, content in kept:
        padding = -(len(header) + start + len(body)) % 16
        body += b"\xaa" * padding
        table += struct.pack("<II", at, start + len(body))
        at += len(name.encode()) + 1
        body += content
    return header + table + names + body


def linked_data(library: pathlib.Path) -> tuple[str, bytes]:
    """The symbol and the bytes of the data in Foundation's library."""
    listing = subprocess.run(["nm", "-A", "-S", "--defined-only", library], capture_output=True, text=True).stdout
    member, start, size, symbol = re.search(
        r":([^:]+):([0-9a-f]+) ([0-9a-f]+) [RD] (icudt\d+_dat)$", listing, re.M).groups()
    content = subprocess.run(["ar", "p", library, member], capture_output=True, check=True).stdout
    at = content.index(b"CmnD") - 12
    return symbol, content[at:at + int(size, 16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where to write")
    parser.add_argument("--swift", default="swift")
    options = parser.parse_args()
    target = json.loads(subprocess.run(
        [options.swift, "-print-target-info"], capture_output=True, text=True, check=True).stdout)
    runtime = pathlib.Path(target["paths"]["runtimeResourcePath"])
    symbol, data = linked_data(runtime.parent / "swift_static/linux/lib_FoundationICU.a")
    header, found = items(data)
    content = package(header, [item for item in found if is_kept(item[0].partition("/")[2])])
    # A name for each content: builds depend on names.
    stem = options.folder.resolve() / f"icu-{hashlib.sha256(content).hexdigest()[:12]}"
    options.folder.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".dat").write_bytes(content)
    stem.with_suffix(".s").write_text(f""".section .rodata
.balign 16
.globl {symbol}
.type {symbol}, %object
{symbol}:
.incbin "{stem}.dat"
.size {symbol}, . - {symbol}
.text
""")
    print(stem.with_suffix(".s"))


if __name__ == "__main__":
    main()
