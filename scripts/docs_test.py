#!/usr/bin/env python3
"""Runs every sh block of README.md and docs/ in a copy of the repository, and checks links.

The blocks of one page run one after the other in one fresh copy. An HTML comment before a block says
otherwise: '<!-- not run: REASON -->', '<!-- exit: 1 3 -->' for the exit codes that are good, or
'<!-- needs: torch diffusers -->' for Python packages, which SANA_TOOLS_PYTHON, .venv or the system's
Python may have. Blocks with 'make' are left to CI, which runs them.

A text block right after an sh block is its output, which must have these lines in this order: '…' alone
stands for any lines, at the end of a line for the rest of it, and times may differ. A json block is the
whole output.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run: [^\n]+|exit: [0-9 ]+|needs: [\w ]+) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.S | re.M)


@dataclasses.dataclass
class Block:
    page: pathlib.Path
    line: int
    text: str
    codes: set[int]
    skipped: str | None
    python: str | None
    # What it prints, as the page shows it, and the kind of that block.
    shown: str | None = None
    shown_kind: str = ""


@functools.cache
def python_with(packages: str) -> str | None:
    """The first Python that has all of them."""
    chosen = os.environ.get("SANA_TOOLS_PYTHON")
    for python in filter(None, [chosen, str(ROOT / ".venv/bin/python"), shutil.which("python3")]):
        if not pathlib.Path(python).exists():
            continue
        code = f"import {', '.join(packages.split())}"
        if subprocess.run([python, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    return None


def blocks(page: pathlib.Path) -> list[Block]:
    content = page.read_text()
    result, end = [], -1
    for match in FENCE.finditer(content):
        follows = result and not content[end:match.start()].strip()
        if match["kind"] in ("text", "json") and follows:
            result[-1].shown, result[-1].shown_kind = match["text"], match["kind"]
        if match["kind"] != "sh":
            continue
        end = match.end()
        mark, text = match["mark"] or "", match["text"]
        skipped = mark.removeprefix("not run: ") if mark.startswith("not run") else None
        packages = mark.removeprefix("needs: ") if mark.startswith("needs") else ""
        python = python_with(packages) if packages else None
        if packages and not python:
            skipped = f"no Python with {packages}"
        if re.search(r"^(make|swift|sudo|git) ", text, re.M) and skipped is None:
            skipped = "builds; CI does"
        if page.parent == ROOT / "reports" and skipped is None:
            skipped = "what was measured, with models that are made for it"
        codes = {int(code) for code in mark.removeprefix("exit: ").split()} if mark[:5] == "exit:" else {0}
        line = content.count("\n", 0, match.start("text"))
        result.append(Block(page, line, text, codes, skipped, python))
    return result


def copy_tracked(to: pathlib.Path) -> None:
    """The files of a fresh clone, and those not committed yet."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listing.decode().split("\0")):
        source = ROOT / name
        if not name.startswith(("Sources/", "Tests/")) and source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def plain(text: str) -> str:
    """The text with one space between words, and without times, which differ from run to run."""
    lines = (" ".join(line.split()) for line in text.rstrip().split("\n"))
    return re.sub(r"\b[\d.]+ (ns|µs|ms|s|min)\b", "TIME", "\n".join(lines)) + "\n"


def is_shown(block: Block, output: str) -> bool:
    """Whether `output` is what the page says the block prints."""
    if block.shown_kind == "json":
        try:
            return json.loads(output) == json.loads(block.shown)
        except json.JSONDecodeError:
            return False
    pattern = ""
    for line in plain(block.shown).splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        elif line.endswith("…"):
            pattern += re.escape(line[:-1]) + r".*\n"
        else:
            pattern += re.escape(line) + r"\n"
    return re.search("^" + pattern, plain(output), re.M) is not None


def run_page(page: pathlib.Path, binary: pathlib.Path) -> list[str]:
    todo = [block for block in blocks(page) if block.skipped is None]
    if not todo:
        return []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder, "sana-tools")
        copy_tracked(work)
        bin_folder = pathlib.Path(folder, "bin")
        bin_folder.mkdir()
        (bin_folder / "sana-tools").symlink_to(binary)
        environment = {
            **os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": folder, "NO_COLOR": "1"}
        for block in todo:
            if block.python:
                # Not a symlink: Python finds its packages next to the name that it was started by.
                (bin_folder / "python3").write_text(f'#!/bin/sh\nexec "{block.python}" "$@"\n')
                (bin_folder / "python3").chmod(0o755)
            result = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", block.text], cwd=work, env=environment,
                capture_output=True, text=True, timeout=600)
            if result.returncode not in block.codes:
                return [failure(block, f"exit {result.returncode}", result)]
            if block.shown and not any(is_shown(block, output) for output in (result.stdout, result.stderr)):
                return [failure(block, "prints something else than the page shows", result)]
    return []


def failure(block: Block, what: str, result: subprocess.CompletedProcess) -> str:
    output = (result.stdout + result.stderr).strip().split("\n")[-16:]
    return f"{block.page.relative_to(ROOT)}:{block.line}: {what}\n" + "".join(
        f"    {line}\n" for line in [*block.text.strip().split("\n"), "--", *output])


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda match: match[1] or "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: pathlib.Path) -> set[str]:
    content = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    return {anchor(match) for match in re.findall(r"^#+ (.*)$", content, re.M)} | set(
        re.findall(r'<a id="([^"]+)"', content))


def broken_links(page: pathlib.Path) -> list[str]:
    content = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    problems = []
    for target in re.findall(r"\]\(([^)\s]+)\)", content):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            problems.append(f"{page.relative_to(ROOT)}: no file {target}")
        elif fragment and file.suffix == ".md" and fragment not in anchors(file):
            problems.append(f"{page.relative_to(ROOT)}: no heading {target}")
    return problems


def repeated_anchors(page: pathlib.Path) -> list[str]:
    """Anchors that a page has twice: only the first can be linked."""
    ids = re.findall(r'<a id="([^"]+)"', page.read_text())
    return [f"{page.relative_to(ROOT)}: anchor {name} twice" for name in sorted(set(ids)) if ids.count(name) > 1]


def unlisted_reports() -> list[str]:
    """Reports that reports/README.md does not link."""
    index = ROOT / "reports/README.md"
    listed = set(re.findall(r"\]\(([^)#\s]+)", index.read_text()))
    return [
        f"reports/README.md: no link to {page.name}"
        for page in sorted(ROOT.glob("reports/*.md")) if page != index and page.name not in listed]


def unexplained_rules(binary: pathlib.Path) -> list[str]:
    """Rules of 'inspect' that the page about troubleshooting leaves out."""
    listing = subprocess.run(
        [binary, "inspect", "--list-rules", "--format", "json"], capture_output=True, text=True, check=True)
    known = anchors(ROOT / "docs" / "troubleshooting.md")
    ids = re.findall(r'"id": "([^"]+)"', listing.stdout)
    return [f"docs/troubleshooting.md: no entry for {name}" for name in ids if name not in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / ".build/release/sana-tools", type=pathlib.Path)
    parser.add_argument("--jobs", default=2, type=int)
    parser.add_argument("pages", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    binary = options.binary.resolve()
    pages = [page.resolve() for page in options.pages] or sorted(
        page for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "reports/*.md") for page in ROOT.glob(pattern))
    problems = [problem for page in pages for problem in broken_links(page)]
    problems += [problem for page in pages for problem in repeated_anchors(page)]
    problems += unlisted_reports() + unexplained_rules(binary)
    found = [block for page in pages for block in blocks(page)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(lambda page: run_page(page, binary), pages):
            problems += result
    for block in found:
        if block.skipped:
            print(f"not run: {block.page.relative_to(ROOT)}:{block.line}: {block.skipped}")
    print("\n".join(problems))
    ran = sum(block.skipped is None for block in found)
    print(f"docs-test: {len(pages)} pages, {ran} blocks run, {len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
