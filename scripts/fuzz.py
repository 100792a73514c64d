#!/usr/bin/env python3
"""Feeds broken files to each target of libFuzzer and writes what came of it into reports/robustness.md.

    SANA_FUZZ=1 swift build -c release --scratch-path .build/fuzz --product sana-fuzz
    python3 scripts/fuzz.py .build/fuzz/release/sana-fuzz --seconds 60 --report reports/robustness.md
"""
import argparse
import pathlib
import re
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
# What the libraries write is seed enough.
MORE = {"gguf": [ROOT / "fixtures" / "encodings"], "encodings": [ROOT / "fixtures" / "encodings"]}


def run(program, target, corpus, seconds):
    folder = corpus / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    done = subprocess.run(
        [program, target, folder, ROOT / "fixtures" / "fuzz" / target, *MORE.get(target, []), f"-artifact_prefix={corpus}/{target}-",
         f"-max_total_time={seconds}", *OPTIONS.get(target, USUAL), "-malloc_limit_mb=256", "-rss_limit_mb=1024",
         "-print_final_stats=1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    print(done.stdout[-2000:] if done.returncode else f"{target}: {inputs[1] if inputs else '?'} inputs", flush=True)
    return {
        "inputs": int(inputs[1]) if inputs else 0, "seconds": time.monotonic() - start,
        "corpus": sum(1 for _ in folder.iterdir()), "finding": done.returncode != 0,
    }


def section(results, seconds):
    lines = [BEGIN, "", "## Fuzzing", "",
             f"`make fuzz` writes this section: libFuzzer with the address sanitizer for {seconds} s on each target of "
             "`Tests/Fuzz`. An input is good when it is read or refused with an error that a user can read; a crash, more than "
             "256 MiB at once, 1 GiB in all or 2 s (history: 30 s) is a finding.", "",
             "| target | what is read | inputs | corpus | findings |", "|---|---|--:|--:|--:|"]
    lines += [f"| {target} | {TARGETS[target]} | {item['inputs']:,} | {item['corpus']} | {int(item['finding'])} |"
              for target, item in results.items()]
    return "\n".join([*lines, "", END, ""])


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
        arguments.report.write_text(old.sub("", page).rstrip("\n") + "\n\n" + section(results, arguments.seconds))
    sys.exit(any(item["finding"] for item in results.values()))


if __name__ == "__main__":
    main()
