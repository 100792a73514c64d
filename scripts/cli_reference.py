#!/usr/bin/env python3
"""Writes docs/reference/cli/ from the program's own --help, or checks that it is current (--check)."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli"


def help_text(binary: str, command: list[str]) -> str:
    environment = {**os.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(
        [binary, *command, "--help"], capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in result.stdout.rstrip().split("\n"))


def subcommands(text: str) -> list[tuple[str, str]]:
    """Names and abstracts below SUBCOMMANDS."""
    section = re.search(r"^SUBCOMMANDS:\n(.*?)(?:\n\n|\Z)", text, re.S | re.M)
    entries: list[tuple[str, str]] = []
    for line in section.group(1).split("\n") if section else []:
        if match := re.match(r"  (\S+)(?: \(default\))?\s+(\S.*)", line):
            entries.append((match[1], match[2]))
        elif entries and line.strip():
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
    return entries


def sections(binary: str, command: list[str], depth: int) -> list[str]:
    text = help_text(binary, command)
    lines = [f"{'#' * depth} sana-tools {' '.join(command)}".rstrip(), "", "```text", text, "```", ""]
    for name, _ in subcommands(text):
        lines += sections(binary, [*command, name], depth + 1)
    return lines


def pages(binary: str) -> dict[str, str]:
    root = help_text(binary, [])
    commands = subcommands(root)
    note = "<!-- Written by 'make docs' from --help. -->"
    index = ["# Commands", "", note, "", "| command | |", "|---|---|"]
    index += [f"| [`{name}`]({name}.md) | {abstract} |" for name, abstract in commands]
    index += ["", "```text", root, "```", ""]
    result = {"README.md": "\n".join(index)}
    for name, _ in commands:
        lines = sections(binary, [name], 1)
        result[f"{name}.md"] = "\n".join([lines[0], "", note, *lines[1:]])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=".build/release/sana-tools")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is old")
    options = parser.parse_args()
    wanted = pages(options.binary)
    FOLDER.mkdir(parents=True, exist_ok=True)
    there = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if options.check:
        if stale:
            sys.exit(f"docs/reference/cli is not current ({', '.join(stale)}): run 'make docs'")
        return
    for name in stale:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name])
        else:
            (FOLDER / name).unlink()
    print(f"docs/reference/cli: {len(wanted)} pages, {len(stale)} changed")


if __name__ == "__main__":
    main()
