#!/usr/bin/env python3
"""Starts processes at once on a history that is not there, again and again, and counts the runs.

    python3 benchmarks/first_writers.py .build/release/sana-tools --starts 200
"""
import argparse
import os
import pathlib
import sqlite3
import subprocess
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the built sana-tools")
    parser.add_argument("--starts", type=int, default=200)
    arguments = parser.parse_args()
    command = [os.path.abspath(arguments.program), "verify", str(FIXTURES / "tiny" / "plain"),
               "--reference", str(FIXTURES / "goldens" / "tiny-plain.safetensors"), "--threads", "1",
               "-q", "--db"]
    lost = failed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for start in range(arguments.starts):
            path = os.path.join(folder, f"{start}.sqlite")
            count = 2 + start % 7
            processes = [subprocess.Popen(command + [path], stdout=subprocess.DEVNULL) for _ in range(count)]
            failed += sum(process.wait() != 0 for process in processes)
            database = sqlite3.connect(path)
            runs = database.execute("SELECT count(*) FROM run").fetchone()[0]
            sound = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            database.close()
            total += count
            lost += count - runs + (not sound)
            os.remove(path)
    print(f"{arguments.starts} starts, {total} writers: {failed} failed, {lost} runs lost")
    raise SystemExit(1 if failed or lost else 0)


if __name__ == "__main__":
    main()
