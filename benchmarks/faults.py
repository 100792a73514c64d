#!/usr/bin/env python3
"""Breaks the weights of sana-digits in hundreds of ways and counts which layers `verify` blames.

    swift build -c release --product sana-tools
    python3 benchmarks/faults.py .build/release/sana-tools --output reports/faults.md

Every tensor is broken in each way by itself, then pairs of tensors of different modules at once. A fault is told rightly where the
cause is the module that owns the tensor, as far as the golden has it. Goldens have a hash of every tensor, which decides
between modules; the same golden without hashes shows what errors alone tell.
"""
import argparse
import array
import collections
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
MODEL = FIXTURES / "sana-digits"
GOLDEN = FIXTURES / "goldens" / "sana-digits-b2-t999.safetensors"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
PAIRS = 40


def parts(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length]), 8 + length


def floats(bits):
    words = array.array("I", (bit << 16 for bit in bits))
    return array.array("f", words.tobytes())


def halves(values):
    return array.array("H", (word >> 16 for word in array.array("I", array.array("f", values).tobytes())))


def noisy(bits):
    generator = random.Random(1)
    return halves(value * (1 + generator.gauss(0, 0.1)) for value in floats(bits))


WAYS = {
    "× 1.5": lambda bits: halves(value * 1.5 for value in floats(bits)),
    "negated": lambda bits: array.array("H", (bit ^ 0x8000 for bit in bits)),
    "zero": lambda bits: array.array("H", bytes(2 * len(bits))),
    "in reverse order": lambda bits: bits[::-1],
    "10 % noise": noisy,
}


def owner(tensor, paths):
    """The module of the golden that a tensor belongs to."""
    if tensor == "scale_shift_table":
        return "norm_out"
    if tensor.startswith("time_embed."):
        return "time_embed"
    inside = [path for path in paths if tensor.startswith(path + ".")]
    return max(inside, key=len)


def golden_without_hashes(path):
    content = GOLDEN.read_bytes()
    header, start = parts(content)
    contract = json.loads(header["__metadata__"]["contract"])
    contract["weights"].pop("tensors")
    header["__metadata__"]["contract"] = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[start:])


def related(one, other):
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


class Bench:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        model = folder / "model"
        (model / "transformer").mkdir(parents=True)
        for name in ("model_index.json", "transformer/config.json"):
            (model / name).write_bytes((MODEL / name).read_bytes())
        self.weights = model / WEIGHTS
        self.content = (MODEL / WEIGHTS).read_bytes()
        self.header, self.start = parts(self.content)
        self.header.pop("__metadata__", None)
        plain = folder / "golden.safetensors"
        golden_without_hashes(plain)
        self.modes = {
            "hashes and own errors": (GOLDEN, "--isolated"), "hashes, no own errors": (GOLDEN, "--no-isolated"),
            "own errors, no hashes": (plain, "--isolated"), "neither": (plain, "--no-isolated"),
        }
        entries, _ = parts(GOLDEN.read_bytes())
        self.paths = [name.split(".", 1)[1] for name in entries if name.startswith("activations.")]

    def bits(self, tensor):
        begin, end = self.header[tensor]["data_offsets"]
        return array.array("H", self.content[self.start + begin:self.start + end])

    def causes(self, faults):
        """The cause and the others by mode; none where the model passes."""
        content = bytearray(self.content)
        for tensor, way in faults:
            begin, end = self.header[tensor]["data_offsets"]
            content[self.start + begin:self.start + end] = WAYS[way](self.bits(tensor)).tobytes()
        self.weights.write_bytes(content)
        result = {}
        for mode, (golden, isolated) in self.modes.items():
            done = subprocess.run(
                [self.program, "verify", self.folder / "model", "--reference", golden, isolated, "--allow-stale",
                 "--no-record", "--format", "json", "--quiet"], capture_output=True, text=True)
            if done.returncode not in (0, 1, 3):
                raise SystemExit(f"{faults}: {done.returncode} {done.stderr}")
            answer = json.loads(done.stdout)["results"][0]
            result[mode] = [answer["cause"], *answer["other_causes"]] if answer["cause"] else []
        return result


def is_owner(cause, want):
    # It has two outputs.
    return cause == want or want == "time_embed" and cause.startswith("time_embed.")


def judge(causes, want):
    if not causes:
        return "not found"
    return "exact" if is_owner(causes[0], want) else "within" if related(causes[0], want) else "wrong"


def table(rows, names, modes):
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    return lines + [f"| {mode} | " + " | ".join(str(rows[mode][name]) for name in names) + " |" for mode in modes]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the built sana-tools")
    parser.add_argument("--output", help="Markdown file (default: stdout)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(os.path.abspath(arguments.program), pathlib.Path(folder))
        single = {mode: collections.Counter() for mode in bench.modes}
        remarks = []
        for tensor in bench.header:
            for way in WAYS:
                if WAYS[way](bench.bits(tensor)) == bench.bits(tensor):
                    continue
                want = owner(tensor, bench.paths)
                for mode, causes in bench.causes([(tensor, way)]).items():
                    verdict = judge(causes, want)
                    single[mode][verdict] += 1
                    single[mode]["faults"] += 1
                    if verdict in ("within", "wrong"):
                        remarks.append(f"* {mode}: `{tensor}` {way}: `{causes[0]}` ({verdict})")
        double = {mode: collections.Counter() for mode in bench.modes}
        generator = random.Random(2)
        seen = {name: bench.causes([(name, "× 1.5")]) for name in bench.header}
        visible = [name for name in bench.header if all(seen[name].values())]
        for _ in range(PAIRS):
            while True:
                pair = generator.sample(visible, 2)
                wanted = [owner(tensor, bench.paths) for tensor in pair]
                if not related(*wanted):
                    break
            for mode, causes in bench.causes([(tensor, "× 1.5") for tensor in pair]).items():
                found = sum(any(is_owner(cause, want) for cause in causes) for want in wanted)
                double[mode][("none", "one", "both")[found]] += 1
                double[mode]["pairs"] += 1
                alien = [cause for cause in causes if not any(related(cause, want) for want in wanted)]
                double[mode]["another named, too"] += bool(alien)
                if found < 2 or alien:
                    remarks.append(f"* {mode}: `{pair[0]}` and `{pair[1]}` × 1.5: {', '.join(f'`{c}`' for c in causes[:6])}")
    for counts in single.values():
        counts["exact of found"] = f"{100 * counts['exact'] / (counts['faults'] - counts['not found']):.1f} %"
    modes = list(single)
    lines = ["# Which layer is blamed", "",
             f"Made by `python3 benchmarks/faults.py {arguments.program} --output reports/faults.md`: every tensor of "
             f"sana-digits ({len(bench.header)}) is broken by itself in {len(WAYS)} ways ({', '.join(WAYS)}), then "
             f"{PAIRS} pairs of tensors of different modules at once (× 1.5), and `verify` compares with "
             f"`{GOLDEN.name}` at its standard tolerance of 1e-3. *Exact*: the cause is the module that owns the tensor, as "
             "far as the golden has it; *within*: one around it or inside it; *not found*: the model passes, since the fault "
             "changes less than the tolerance; *exact of found*: the share of the others.", "",
             *table(single, ["faults", "exact", "within", "wrong", "not found", "exact of found"], modes), "", "## Two faults at once", "",
             *table(double, ["pairs", "both", "one", "none", "another named, too"], modes)]
    if remarks:
        lines += ["", "## What is not exact", "", *remarks]
    text = "\n".join(lines) + "\n"
    if arguments.output:
        pathlib.Path(arguments.output).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
