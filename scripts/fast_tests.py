#!/usr/bin/env python3
"""Prints the options with which 'swift test' runs the fast tier: what has no tag of Tests/SanaTestSupport/Tags.swift.

'swift test' itself knows tags from Swift 6.4 on ('--skip tag:slow').
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = re.compile(r"^(?:@Suite(?P<traits>\(.*?\))?\s+)?(?:final )?(?:struct|class|enum|actor) (?P<name>\w+Tests)\b", re.M | re.S)
TAGGED_TEST = re.compile(r"@Test\((?:(?!\bfunc\b).)*?\.tags\(.*?\bfunc (?P<name>\w+)\(", re.S)


@dataclass(frozen=True)
class Suite:
    """A suite with its own source."""

    path: Path
    target: str
    name: str
    is_tagged: bool
    body: str

    @property
    def identifier(self) -> str:
        return f"{self.target}.{self.name}"


def suites() -> Iterator[Suite]:
    """The suites of all tests."""
    listing = subprocess.run(["git", "ls-files", "-z", "Tests/*Tests/*.swift"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listing.stdout.decode().split("\0")):
        text = (ROOT / name).read_text()
        heads = list(SUITE.finditer(text))
        for head, following in zip(heads, [*heads[1:], None]):
            body = text[head.end() : following.start() if following else len(text)]
            yield Suite(Path(name), name.split("/")[1], head["name"], ".tags(" in (head["traits"] or ""), body)


def main() -> None:
    fast = [suite for suite in suites() if not suite.is_tagged]
    # No character that a shell would expand.
    print(f"--filter ^({'|'.join(sorted(suite.identifier for suite in fast))})/")
    tagged = [f"{suite.identifier}/{test['name']}" for suite in fast for test in TAGGED_TEST.finditer(suite.body)]
    if tagged:
        print(f"--skip ^({'|'.join(sorted(tagged))})")


if __name__ == "__main__":
    main()
