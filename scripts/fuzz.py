#!/usr/bin/env python3
"""Feeds broken files to each target of libFuzzer and writes what came of it into reports/robustness.md.

    SANA_FUZZ=1 swift build -c release --scratch-path .build/fuzz --product sana-fuzz
    python3 scripts/fuzz.py .build/fuzz/release/sana-fuzz --seconds 60 --report reports/robustness.md
"""
import argparse
import json
import pathlib
import re
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- fuzzing: begin -->", "<!-- fuzzing: end -->"
TARGETS = {
    "safetensors": "header and bytes of a safetensors file",
    "archive": "an archive: table, manifest, every tensor by itself and all at once",
    "zip": "a file of torch.save or a DDUF pipeline: zip file, pickle, configuration",
    "names": "bytes as the name of a tensor and as JSON: nothing hidden is shown, and what is written is read again the same",
    "gguf": "a GGUF file: settings, names, every block",
    "encodings": "quantized weights of every method that is read",
    "tokenizer": "a tokenizer.json, and a text that it takes apart",
    "configurations": "config.json of the transformer, the autoencoder and the text encoder",
    "history": "a SQLite file: listed, shown, judged, reported and merged; nothing beside it changes",
}
# A history takes a few pages at least, and reading a damaged one stops after 8 s.
OPTIONS = {"history": ["-max_len=262144", "-timeout=30"]}
USUAL = ["-max_len=65536", "-timeout=2"]
ENCODINGS = ROOT / "fixtures" / "encodings"
# What the libraries write is seed enough.
MORE = {"gguf": [ENCODINGS], "encodings": [ENCODINGS]}


def describe(folder):
    """Writes each encoding that needs a configuration as a file that holds it, for settings and weights to be broken together."""
    folder.mkdir(parents=True, exist_ok=True)
    for settings in sorted(ENCODINGS.glob("*.json")):
        content = settings.with_suffix(".safetensors").read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        notes = {"config": "{}", "quantization_config": json.dumps(json.loads(settings.read_text()))}
        header["__metadata__"] = header.get("__metadata__", {}) | notes
        text = json.dumps(header, separators=(",", ":")).encode()
        (folder / settings.stem).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def run(program, target, corpus, seconds):
    folder = corpus / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [ROOT / "fixtures" / "fuzz" / target, *MORE.get(target, [])]
    if target == "encodings":
        seeds.append(corpus / "described")
        describe(seeds[-1])
    start = time.monotonic()
    done = subprocess.run(
        [program, target, folder, *seeds, f"-artifact_prefix={corpus}/{target}-",
         f"-max_total_time={seconds}", *OPTIONS.get(target, USUAL), "-malloc_limit_mb=256", "-rss_limit_mb=1024",
         "-print_final_stats=1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    print(done.stdout[-2000:] if done.returncode else f"{target}: {inputs[1] if inputs else '?'} inputs", flush=True)
    return {
        "inputs": int(inputs[1]) if inputs else 0, "seconds": round(time.monotonic() - start),
        "corpus": sum(1 for _ in folder.iterdir()), "finding": done.returncode != 0,
    }


def section(results, page):
    """The section of a page: new rows for `results`, and the page's own for other targets."""
    rows = {match[1]: match[0] for match in re.finditer(r"^\| (\w+) \|.*$", page, re.MULTILINE) if match[1] in TARGETS}
    rows |= {target: f"| {target} | {TARGETS[target]} | {item['seconds']} s | {item['inputs']:,} | {item['corpus']} | {int(item['finding'])} |"
             for target, item in results.items()}
    lines = [BEGIN, "", "## Fuzzing", "",
             "`make fuzz` writes this section: libFuzzer with the address sanitizer on each target of `Tests/Fuzz`. An input is "
             "good when it is read or refused with an error that a user can read; a crash, more than 256 MiB at once, 1 GiB in "
             "all or 2 s (history: 30 s) is a finding.", "",
             "| target | what is read | time | inputs | corpus | findings |", "|---|---|--:|--:|--:|--:|"]
    return "\n".join([*lines, *(rows[target] for target in TARGETS if target in rows), "", END, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path, help="the built sana-fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=pathlib.Path, default=ROOT / ".build" / "fuzz", help="folder of corpora and findings")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    parser.add_argument("--report", type=pathlib.Path, help="page whose section on fuzzing to write")
    arguments = parser.parse_args()
    results = {}
    for target in arguments.target or TARGETS:
        results[target] = run(arguments.program.resolve(), target, arguments.corpus.resolve(), arguments.seconds)
    if arguments.report:
        page = arguments.report.read_text()
        old = re.compile(re.escape(BEGIN) + ".*" + re.escape(END) + "\n?", re.DOTALL)
        found = old.search(page)
        arguments.report.write_text(old.sub("", page).rstrip("\n") + "\n\n" + section(results, found[0] if found else ""))
    sys.exit(any(item["finding"] for item in results.values()))


if __name__ == "__main__":
    main()
