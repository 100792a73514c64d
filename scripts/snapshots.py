#!/usr/bin/env python3
"""Writes fixtures/sentences.txt, what users read: every --help and what failing commands say. Or checks it (--check).

Tests assert exit codes, categories and key nouns; whole sentences are in this one file.
"""

import argparse
import difflib
import os
import pathlib
import subprocess
import sys
import tempfile

from cli_reference import help_text, subcommands

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "fixtures/sentences.txt"

# One of each kind of mistake.
FAILING = """
inspekt
inspect
inspect nowhere
inspect fixtures/tiny/plain --frobnicate
inspect page.safetensors
inspect short.safetensors
inspect empty
inspect fixtures/tiny/plain --variant fp17
inspect fixtures/tiny/plain --subfolder vae
inspect fixtures/goldens/tiny-plain.safetensors
inspect org/name@main
inspect fixtures/tiny/plain --format yaml
digest nowhere
digest empty
digest page.safetensors
convert fixtures/tiny/plain
convert fixtures/tiny/plain --dtype int4
convert fixtures/tiny/plain --dtype fp16 --output taken.safetensors.zst
convert fixtures/tiny/plain --dtype fp16 --output page.safetensors/x
convert fixtures/tiny/plain --dtype fp16 --exact --allow-rounding
convert fixtures/tiny/plain --dtype int8 --rule nonsense
convert fixtures/tiny/plain --dtype int8 --rule .*=int4
convert fixtures/tiny/plain --dtype int8 --component vae=bf16
convert fixtures/tiny/plain --dtype int8 --explain absent.weight
convert fixtures/tiny/plain --dtype int8 --lora absent.safetensors
convert fixtures/tiny/plain --dtype fp16 --container safetensors --max-shard-size big
unpack fixtures/tiny/plain
unpack page.safetensors
diff fixtures/tiny/plain
diff fixtures/tiny/plain nowhere
diff fixtures/tiny/plain fixtures/tiny/plain --tolerance -1
lora extract fixtures/tiny/plain fixtures/tiny/plain --output l.safetensors
lora merge page.safetensors --model fixtures/tiny/plain --output l.safetensors
verify fixtures/tiny/plain
verify fixtures/tiny/plain --reference nowhere.safetensors
verify fixtures/tiny/plain --reference page.safetensors
verify fixtures/tiny/plain --reference fixtures/goldens/tiny-plain.safetensors --layer-tolerance x
verify fixtures/tiny/plain --reference fixtures/goldens/tiny-plain.safetensors --layer-tolerance absent=1
verify fixtures/tiny/plain --reference fixtures/goldens/tiny-plain.safetensors --tolerance-file page.safetensors
verify fixtures/tiny/plain --reference fixtures/goldens/tiny-plain.safetensors --gate --no-record
verify fixtures/tiny/plain --trajectory page.safetensors --isolated
tune fixtures/tiny/plain
profile nowhere
profile fixtures/tiny/plain --size 500
profile fixtures/tiny/plain --latent 5
profile fixtures/tiny/plain --size 64 --latent 2x2
profile fixtures/tiny/plain --repeat 0
profile fixtures/tiny/plain --threads 0
profile fixtures/tiny/plain --pairs 3
profile fixtures/tiny/plain fixtures/tiny/plain --trace t.json
profile fixtures/tiny/plain --shard 3/2
history list --db absent.sqlite
history show 3 --db page.safetensors
history frob
history report
history prune --keep 0
history baseline set
history merge nowhere.sqlite --db h.sqlite
nightly
init nowhere
capture fixtures/tiny/plain
sample fixtures/tiny/plain --prompt x --output o.png
sample fixtures/pipelines/sana --output o.png
sample fixtures/pipelines/sana --prompt x --size 7 --output o.png
tokenize fixtures/tokenizer
tokenize nowhere --prompt x
kernels --repeat 0
""".strip().split("\n")

# sana-tools.yaml with a mistake in each.
PROJECTS = [
    "model: fixtures/tiny/plain\nresolution: 500", "modell: x", "model: [a]", "model: a: b", "dtype: fp8",
    "tolerance: -1", "rules: [x]", "layer_tolerances: [x]", "model: nowhere", "a",
]


def helps(binary: str, command: list[str]) -> list[str]:
    text = help_text(binary, command)
    line = " ".join(["$ sana-tools", *command, "--help"])
    return [f"{line}\n{text}\n"] + [
        part for name, _ in subcommands(text) for part in helps(binary, [*command, name])]


def failure(binary: str, folder: pathlib.Path, line: str, project: str = "") -> str:
    result = subprocess.run(
        [binary, *line.split()], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "80", "HF_HUB_CACHE": "cache", "LC_ALL": "C.UTF-8"})
    if result.returncode == 0:
        sys.exit(f"snapshots: '{line}' did not fail")
    head = "".join(f"# {part}\n" for part in project.split("\n")) if project else ""
    said = "\n".join(text.rstrip() for text in result.stderr.rstrip().split("\n"))
    return f"{head}$ sana-tools {line}\nexit {result.returncode}\n{said}\n"


def sentences(binary: str) -> str:
    parts = helps(binary, [])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "fixtures").symlink_to(ROOT / "fixtures")
        (folder / "page.safetensors").write_text("<html>not found</html>")
        (folder / "short.safetensors").write_bytes(b"\x09" + bytes(7) + b"{")
        (folder / "taken.safetensors.zst").write_bytes(b"\x01")
        (folder / "empty").mkdir()
        parts += [failure(binary, folder, line) for line in FAILING]
        for text in PROJECTS:
            (folder / "sana-tools.yaml").write_text(text + "\n")
            parts.append(failure(binary, folder, "profile", text))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / ".build/release/sana-tools", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the file is old")
    options = parser.parse_args()
    text = sentences(str(options.binary.resolve()))
    if not options.check:
        FILE.write_text(text)
        return
    kept = FILE.read_text()
    if text != kept:
        sys.stdout.writelines(difflib.unified_diff(
            kept.splitlines(True), text.splitlines(True), "fixtures/sentences.txt", "now"))
        sys.exit("fixtures/sentences.txt is not what the program says: run 'make snapshots'")


if __name__ == "__main__":
    main()
