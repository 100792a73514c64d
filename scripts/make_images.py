#!/usr/bin/env python3
"""Draws docs/images/overview.png: a 'verify' that fails, sampled pictures, and the HTML report, all of them real.

Needs chromium. The checkpoint that fails is sana-digits with one weight of one layer scaled by 2 %; pictures are of sana-pictures, of
its conversions to fp16 and int8, and of int8 products.
"""

import argparse
import base64
import html
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "overview.png"
BROKEN = "transformer_blocks.1.attn2.to_out.0.weight"
PROMPTS = ["a red seven on blue", "a yellow three on red"]
# Repositories that sample, and how their products are computed.
MODELS = [("pictures", "fp32"), ("fp16", "fp32"), ("int8", "fp32"), ("int8", "int8")]

STYLE = """
* { box-sizing: border-box; margin: 0 }
body { width: 1600px; height: 900px; background: #e8ebef; font: 15px/1.45 'DejaVu Sans', sans-serif;
       display: grid; grid-template: 420px 1fr / 1fr; gap: 18px; padding: 18px }
pre { background: #14181f; color: #d7dce4; font: 14.5px/1.42 'DejaVu Sans Mono', monospace; padding: 18px 22px;
      border-radius: 10px; overflow: hidden }
.bad { color: #ff7b72; font-weight: bold } .ok { color: #7ee787 } .dim { color: #8b949e }
.row { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; min-height: 0 }
figure { background: white; border-radius: 10px; overflow: hidden; padding: 12px 16px; display: flex; flex-direction: column;
         min-height: 0 }
figcaption { color: #57606a; padding-bottom: 8px }
figure img { width: 100%; object-fit: cover; object-position: top; min-height: 0; flex: 1 }
figure img + img { margin-top: 6px }
/* The page goes on. */
.report img { mask-image: linear-gradient(black 80%, transparent) }
"""


def run(binary: pathlib.Path, folder: pathlib.Path, *arguments: str) -> str:
    result = subprocess.run([binary, *arguments], cwd=folder, capture_output=True, text=True)
    if result.returncode not in (0, 1):
        sys.exit(f"sana-tools {' '.join(arguments)}: {result.stderr}")
    return result.stdout


def terminal(text: str) -> str:
    """The command's output as HTML, its verdicts in the colours of a terminal."""
    lines = []
    for line in text.split("\n"):
        line = html.escape(line)
        for word, kind in (("FAIL", "bad"), ("cause:", "bad"), ("← cause", "bad"), ("PASS", "ok")):
            line = line.replace(word, f'<span class="{kind}">{word}</span>')
        lines.append(line)
    return "\n".join(lines)


def data_url(path: pathlib.Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def sample(binary: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """A strip for each prompt, with a picture by each model."""
    source = ROOT / "fixtures" / "sana-pictures"
    (folder / "pictures").symlink_to(source)
    for dtype in ("fp16", "int8"):
        run(binary, folder, "convert", "pictures", "--dtype", dtype, "--output", dtype)
    strips = []
    for number, prompt in enumerate(PROMPTS):
        beside: list[str] = []
        for index, (model, compute) in enumerate(MODELS):
            picture = f"{number}-{index}.png"
            strip = ["--strip", f"strip-{number}.png", *(f"--beside={name}" for name in beside)] if index == len(MODELS) - 1 else []
            run(binary, folder, "sample", model, "--prompt", prompt, "--guidance-scale", "3", "--seed", "11", "--compute", compute,
                "--output", picture, *strip)
            beside.append(picture)
        strips.append(folder / f"strip-{number}.png")
    return strips


def screenshot(page: pathlib.Path, image: pathlib.Path, size: str) -> None:
    subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}",
         f"--screenshot={image}", page.as_uri()], check=True, capture_output=True, timeout=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / ".build/release/sana-tools", type=pathlib.Path)
    binary = parser.parse_args().binary.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copytree(ROOT / "fixtures" / "sana-digits", folder / "sana-digits")
        golden = shutil.copy(ROOT / "fixtures/goldens/sana-digits-b1-t1.safetensors", folder / "golden.safetensors")
        run(binary, folder, "convert", "sana-digits", "--dtype", "fp16", "--container", "safetensors", "--output", "broken")
        weights = folder / "broken/transformer/diffusion_pytorch_model.safetensors"
        subprocess.run(
            [sys.executable, ROOT / "scripts/scale_tensor.py", weights, BROKEN, "1.02"], check=True, capture_output=True)
        failing = run(
            binary, folder, "verify", "broken", "--reference", pathlib.Path(golden).name, "--allow-stale", "--summary",
            "--no-record")
        strips = sample(binary, folder)
        report = folder / "report.png"
        screenshot(ROOT / "reports" / "sample" / "report.html", report, "1100,900")
        shown = failing.split("\n")
        cut = next(i for i, line in enumerate(shown) if line.startswith("layer ")) + 8
        text = terminal("\n".join(shown[:cut])) + '\n<span class="dim">…</span>\n' + terminal(shown[-2])
        page = folder / "page.html"
        page.write_text(
            f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
            f"<pre><span class=dim>$ sana-tools verify broken --reference golden.safetensors --allow-stale --summary</span>\n{text}</pre>"
            f'<div class=row><figure><figcaption>sample: {" and ".join(PROMPTS)}, by the source, fp16, int8, and int8 products'
            f'</figcaption>{"".join(f"<img src={data_url(strip)}>" for strip in strips)}</figure>'
            f'<figure class=report><figcaption>history report</figcaption><img src="{data_url(report)}"></figure></div>')
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        screenshot(page, IMAGE, "1600,900")
    print(f"{IMAGE.relative_to(ROOT)}: {IMAGE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
