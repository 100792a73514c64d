"""Draws targets, folders and arrows of the code into docs/explanation/architecture.md.

An arrow means that a folder uses types which the other declares; its label counts them. With --check nothing is
written, and the exit code is 1 where the page has other folders than the code; counts change with every commit.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/explanation/architecture.md"
BEGIN, END = "<!-- structure: made by scripts/draw_structure.py -->", "<!-- end of structure -->"
TARGETS = ("SanaBase", "SanaModel", "SanaQuant", "SanaWorkbench", "SanaTools")
DECLARATION = re.compile(r"^(?:public |package |private |fileprivate |final |indirect |nonisolated )*"
                         r"(?:struct|class|enum|protocol|actor|typealias)\s+([A-Z]\w+)", re.M)
WORD = re.compile(r"\b[A-Z]\w+\b")
NODE = re.compile(r'\["(.+?)<br/>')
# Fewer uses than this are left out of the picture, not of the count.
FEWEST_USES = 3


def folder(path: Path) -> tuple[str, str]:
    parts = path.relative_to(ROOT / "Sources").parts
    return parts[0], parts[1] if len(parts) > 2 else "(top)"


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*", "", text)


def diagram() -> str:
    files = [path for target in TARGETS for path in sorted((ROOT / "Sources" / target).rglob("*.swift"))]
    texts = {path: without_comments(path.read_text()) for path in files}
    owners: dict[str, set[tuple[str, str]]] = defaultdict(set)
    lines: dict[tuple[str, str], int] = defaultdict(int)
    for path, text in texts.items():
        lines[folder(path)] += len(path.read_text().splitlines())
        for name in DECLARATION.findall(text):
            owners[name].add(folder(path))
    uses: dict[tuple[tuple[str, str], tuple[str, str]], set[str]] = defaultdict(set)
    for path, text in texts.items():
        here = folder(path)
        for name in set(WORD.findall(text)):
            places = owners.get(name, set())
            if len(places) == 1 and here not in places:
                uses[here, next(iter(places))].add(name)
    names = {place: f"n{index}" for index, place in enumerate(sorted(lines))}
    output = ["```mermaid", "flowchart LR"]
    for target in TARGETS:
        output.append(f"  subgraph {target}")
        output += [
            f'    {names[place]}["{place[1]}<br/>{lines[place]} lines"]' for place in sorted(lines) if place[0] == target
        ]
        output.append("  end")
    hidden = 0
    for (source, target), used in sorted(uses.items()):
        if len(used) < FEWEST_USES:
            hidden += 1
            continue
        output.append(f"  {names[source]} -->|{len(used)}| {names[target]}")
    output.append("```")
    note = (f"Arrows count the types that a directory uses of another; {hidden} of fewer than {FEWEST_USES} are left out. "
            "The compiler holds targets to their order.")
    return "\n".join([*output, "", note])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    text = PAGE.read_text()
    if BEGIN not in text or END not in text:
        print(f"{PAGE}: no place for the picture", file=sys.stderr)
        return 1
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    new = f"{head}{BEGIN}\n\n{diagram()}\n\n{END}{tail}"
    if options.check:
        if stale := set(NODE.findall(new)) ^ set(NODE.findall(text)):
            print(f"{PAGE}: {', '.join(sorted(stale))}: run scripts/draw_structure.py", file=sys.stderr)
        return 1 if stale else 0
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
