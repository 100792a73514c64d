#!/usr/bin/env python3
"""Checks what 'swift format lint' leaves alone: the width of comments, that public declarations have one, and tags of tests.

Types and functions need a doc comment unless they are what a protocol of ours or of the library asks for and describes.
Properties and initializers whose names say it all do not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import fast_tests

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
# Its bytes are pinned by a test.
FROZEN = "Sources/CSanaCanary/"
COMMENT = re.compile(r"\s*(///?|/\*)( |$)")
MODIFIERS = r"(?:static |final |mutating |nonmutating |indirect |dynamic |nonisolated )*"
PUBLIC = re.compile(rf"\s*(?:@\w+(?:\([^)]*\))? )*public {MODIFIERS}(func|struct|enum|class|protocol|actor|typealias) (\S+?)[(<:\s]")
REQUIREMENT = re.compile(rf"\s+(?:public |package )?{MODIFIERS}func (\w+)[(<]")
# Of the standard library and Foundation.
KNOWN = {"==", "<", "hash", "next", "makeIterator", "encode", "index"}
# What a test uses to start a process.
PROCESS = re.compile(r"^(?!\s*//).*\b(BuiltProgram|SpawnedProcess|Python|SparseModel|CommandServer|MutationCampaign)\b[.(]", re.M)


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and not name.startswith(FROZEN)]


def wide_comments(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: comment of {len(line)} columns, more than {COLUMNS}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > COLUMNS and COMMENT.match(line) and "://" not in line
    ]


def requirements(text: str) -> set[str]:
    """Functions that protocols in a file ask for."""
    bodies = re.findall(r"^(?:public |package )?protocol [^\n]*\{\n(.*?)^\}", text, re.S | re.M)
    return {name for body in bodies for name in REQUIREMENT.findall(body)}


def undocumented(path: Path, described: set[str]) -> list[str]:
    lines = path.read_text().splitlines()
    problems = []
    for number, line in enumerate(lines):
        match = PUBLIC.match(line)
        if not match or match[1] == "func" and match[2] in described:
            continue
        above = number - 1
        while above >= 0 and lines[above].lstrip().startswith("@"):
            above -= 1
        if above < 0 or not lines[above].lstrip().startswith("///"):
            problems.append(f"{path.relative_to(ROOT)}:{number + 1}: public {match[1]} {match[2]} has no doc comment")
    return problems


def untagged() -> list[str]:
    return [
        f"{suite.path}: {suite.name} starts processes and has no .tags(.process), so 'make test-fast' would run it"
        for suite in fast_tests.suites()
        if PROCESS.search(suite.body) and not suite.is_tagged and not fast_tests.TAGGED_TEST.search(suite.body)
    ]


def main() -> int:
    swift = tracked("Sources/*.swift")
    described = KNOWN.union(*(requirements(path.read_text()) for path in swift))
    problems = [line for path in swift for line in undocumented(path, described)] + untagged()
    for path in swift + tracked("Package.swift", "Tests/*.swift", "Sources/*.c", "Sources/*.h", "Tests/*.c"):
        problems += wide_comments(path)
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
