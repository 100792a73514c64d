#!/usr/bin/env python3
"""Opens the HTML report in a browser, as a phone and as a screen see it, and keeps screenshots.

A history with a failed verification, a slower model and several stored types is recorded with the built
program. Checked: no sideways scrolling at 390 px, no message on the console, the headline, pictures that are
not blank. Exits with 3 where Debian's chromium is not installed: nothing was checked.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {"phone": (390, 844), "screen": (1280, 900)}
# Its console messages go to the log; a page below measures the report in a frame of a phone's width, which a
# window of Chromium cannot be as narrow as.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><title>frame</title>
<style>body { margin: 0 } iframe { border: 0; width: %dpx; height: %dpx }</style>
<iframe src="report.html"></iframe><pre id="found"></pre>
<script>
const frame = document.querySelector("iframe");
function measure() {
    const page = frame.contentDocument, root = page.documentElement, width = root.clientWidth;
    const wide = [...page.querySelectorAll("body *")].filter(element => element.scrollWidth > element.clientWidth + 1
        && element.clientWidth > 0 && getComputedStyle(element).overflowX !== "visible").map(element => element.outerHTML.slice(0, 120));
    document.querySelector("#found").textContent = JSON.stringify({
        width, scroll: root.scrollWidth, height: root.scrollHeight, scrolled: wide,
        headline: page.querySelector(".verdict strong").textContent,
        drawn: [...page.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 0).length,
        broken: [...page.querySelectorAll(".night thead th, .night td:nth-child(-n+6)")].filter(cell => {
            const text = page.createRange();
            text.selectNodeContents(cell);
            return text.getBoundingClientRect().height > 1.5 * parseFloat(getComputedStyle(cell).lineHeight);
        }).map(cell => cell.textContent.trim()),
        pictures: [...page.images].map(image => image.naturalWidth)});
}
frame.addEventListener("load", measure);
</script>"""


def sana(binary: pathlib.Path, folder: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    result = subprocess.run([binary, *arguments], cwd=folder, capture_output=True, text=True)
    if result.returncode not in codes:
        sys.exit(f"{' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}")


def record(binary: pathlib.Path, folder: str) -> str:
    """A night in which something failed; the headline of its report."""
    # A long path without a place to break it, wherever the clone is.
    fixtures = pathlib.Path(folder, "checkpoints-that-somebody-keeps-below-a-directory-of-a-long-name")
    fixtures.symlink_to(ROOT / "fixtures")
    digits, golden = f"{fixtures}/sana-digits", f"{fixtures}/goldens/sana-digits-b1-t1.safetensors"
    sampling = f"{fixtures}/trajectories/sana-digits-dpm-20.safetensors"
    history = ("--db", "history.sqlite", "--quiet")
    archives = [f"sana-digits-{dtype}.safetensors.zst" for dtype in ("fp16", "int8")]
    for dtype, archive in zip(("fp16", "int8"), archives):
        sana(binary, folder, "convert", digits, "--dtype", dtype, "--output", archive, "--quiet")
    for _ in range(3):
        sana(binary, folder, "verify", digits, *archives, "--reference", golden, "--isolated", *history)
        sana(binary, folder, "profile", digits, *archives, "--latent", "8x8", "--repeat", "5", *history)
    sana(binary, folder, "verify", digits, *archives, "--trajectory", sampling, "--pictures", "samples.png", *history)
    sana(binary, folder, "verify", archives[1], "--reference", golden, "--tolerance", "1e-5", *history, codes=(1,))
    sana(binary, folder, "history", "report", "--output", "report.html", "--picture", "samples.png", "--db", "history.sqlite")
    gate = subprocess.run(
        [binary, "history", "gate", "--db", "history.sqlite", "--format", "json"], cwd=folder, capture_output=True, text=True)
    return json.loads(gate.stdout)["results"][0]["headline"]


def browse(browser: str, folder: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
         "--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=5000",
         f"--user-data-dir={folder}/profile", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": folder})


def measure(browser: str, folder: str, width: int, height: int) -> tuple[dict, list[str]]:
    page = pathlib.Path(folder, "frame.html")
    page.write_text(FRAME % (width, height))
    result = browse(browser, folder, "--dump-dom", page.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.S)
    if not found or not found[1]:
        sys.exit(f"the report did not load: {result.stderr[-2000:]}")
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text), [line for line in result.stderr.split("\n") if "CONSOLE" in line]


def colours(png: pathlib.Path) -> int:
    """How many different rows of pixels a picture has, as it is stored."""
    content = png.read_bytes()
    width, height, depth, kind = *(int.from_bytes(content[at:at + 4]) for at in (16, 20)), content[24], content[25]
    data, at = b"", 8
    while at < len(content):
        size = int.from_bytes(content[at:at + 4])
        if content[at + 4:at + 8] == b"IDAT":
            data += content[at + 8:at + 8 + size]
        at += size + 12
    rows = zlib.decompress(data)
    stride = 1 + width * {0: 1, 2: 3, 6: 4}[kind] * depth // 8
    return len({rows[index * stride:(index + 1) * stride] for index in range(height)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / ".build/release/sana-tools", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="folder for the screenshots and the report")
    options = parser.parse_args()
    browser = shutil.which("chromium")
    if browser is None:
        print("report-test: not checked: chromium is not installed (Debian: chromium)")
        sys.exit(3)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        headline = record(options.binary.resolve(), folder)
        for name, (width, height) in SIZES.items():
            found, console = measure(browser, folder, width, height)
            problems += [f"{name}: {line}" for line in console]
            if found["width"] != width or found["scroll"] > width:
                problems.append(f"{name}: the page is {found['scroll']} px wide in a window of {found['width']}")
            problems += [f"{name}: scrolls sideways: {element}" for element in found["scrolled"]]
            problems += [f"{name}: '{text}' is broken over lines" for text in sorted(set(found["broken"]))]
            if found["headline"] != headline or "failed" not in headline:
                problems.append(f"{name}: the headline is '{found['headline']}', not '{headline}'")
            if found["drawn"] < 5:
                problems.append(f"{name}: {found['drawn']} charts")
            if not found["pictures"] or min(found["pictures"]) == 0:
                problems.append(f"{name}: no picture of a sampling")
            frame = pathlib.Path(folder, "frame.html")
            frame.write_text(FRAME % (width, found["height"]))
            picture = pathlib.Path(folder, f"{name}.png")
            browse(browser, folder, f"--screenshot={picture}", f"--window-size={max(width, 500)},{found['height']}", frame.as_uri())
            if not picture.exists() or colours(picture) < 100:
                problems.append(f"{name}: the screenshot is blank")
        paper = pathlib.Path(folder, "report.pdf")
        browse(browser, folder, f"--print-to-pdf={paper}", pathlib.Path(folder, "report.html").as_uri())
        if not paper.exists() or not paper.read_bytes().startswith(b"%PDF"):
            problems.append("paper: nothing was printed")
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            for file in ("phone.png", "screen.png", "report.pdf", "report.html"):
                if pathlib.Path(folder, file).exists():
                    shutil.copy(pathlib.Path(folder, file), options.output / file)
    print("\n".join([*problems, f"report-test: {len(SIZES)} sizes and paper, {len(problems)} problems"]))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
