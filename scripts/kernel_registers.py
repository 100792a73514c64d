"""Checks that the tiles of the matmul kernels stay in registers.

    python3 scripts/kernel_registers.py

Compiles the kernels of x86, and the canary, with the options of a release build and looks at the innermost loops of their
matmuls. A loop
that writes vectors to the stack has more sums than registers: the same tile takes up to three times as long, on one
instruction set and not on another, and no test of results sees it. The options matter: without a frame pointer, which
`swift build` keeps, there is a register more.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = Path(__file__).parent.parent / "Sources"
# With the level of optimization that Package.swift asks for.
SOURCES = {"CSanaKernels/kernels_avx2.c": "-O3", "CSanaKernels/kernels_avxvnni.c": "-O3",
           "CSanaKernels/kernels_avx512.c": "-O3", "CSanaKernels/kernels_avx512bf16.c": "-O3",
           "CSanaCanary/canary_2.c": "-O2"}
# Those of `swift build -c release`, and of Package.swift.
OPTIONS = ["-target", "x86_64-unknown-linux-gnu", "-fblocks", "-ffp-contract=off", "-fPIC", "-g", "-fno-omit-frame-pointer"]
FUNCTION = re.compile(r"(column|multiply_i8\w*|tile_i8\w*|run_avx2)$")
MULTIPLY = re.compile(r"v(fn?madd|dpbf16|dpbusd|dpwssd|pmaddwd)")
SPILL = re.compile(r"vmov\w+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\)")
# Multiplications that a column of the smallest tile worth the name has.
FEWEST = 4


def compiler() -> str | None:
    swift = shutil.which("swift")
    beside = Path(swift).resolve().parent / "clang" if swift else None
    return str(beside) if beside and beside.exists() else shutil.which("clang")


def loops(assembly: str) -> list[tuple[str, list[str]]]:
    """Innermost loops with the function that each is in: blocks that end by jumping to their own label."""
    found, function, label, block = [], "", "", []
    for line in assembly.splitlines():
        if name := re.match(r"([\w.]+):", line):
            if name[1].startswith((".Ltmp", ".Lfunc")):
                continue
            if not name[1].startswith("."):
                function = name[1]
            label, block = name[1], []
        elif re.match(r"\t[a-z]", line):
            block.append(line.split("#")[0].strip())
            if re.fullmatch(rf"j\w+\s+{re.escape(label)}", block[-1]):
                found.append((function, block))
                block = []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=Path, default=TARGETS, help="directory of the targets with kernels")
    options = parser.parse_args()
    clang = compiler()
    if not clang:
        sys.exit("kernel_registers.py: found no clang")
    faults, seen = [], 0
    for source, level in SOURCES.items():
        path = options.targets / source
        command = [clang, level, *OPTIONS, "-I", str(path.parent / "include"), "-S", str(path), "-o", "-"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            sys.exit(done.stderr)
        tiles = [(function, block) for function, block in loops(done.stdout)
                 if FUNCTION.match(function) and sum(bool(MULTIPLY.match(line)) for line in block) >= FEWEST]
        if len(tiles) < 4:
            faults.append(f"{source}: only {len(tiles)} loops of matmuls were found: has a function another name?")
        seen += len(tiles)
        for function, block in tiles:
            spills = sum(bool(SPILL.match(line)) for line in block)
            if spills:
                products = sum(bool(MULTIPLY.match(line)) for line in block)
                faults.append(f"{source}: a loop of {function} with {products} multiplications writes {spills} vectors to "
                              "the stack")
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(1)
    print(f"{seen} loops of matmul kernels keep their sums in registers")


if __name__ == "__main__":
    main()
