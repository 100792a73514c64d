#!/usr/bin/env python3
"""Times what a history costs as it gets older.

Records a verification and a profile of fixtures/sana-digits, repeats both for so many nights of
twelve models by SQL on the documented schema, and times commands on the result:

    swift build -c release --product sana-tools
    python3 benchmarks/history.py .build/release/sana-tools --output reports/history.md
"""
import argparse
import datetime
import os
import pathlib
import platform
import random
import sqlite3
import statistics
import subprocess
import tempfile
import time
import uuid

MODELS = 12
FIRST_NIGHT = datetime.datetime(2016, 1, 1)
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def columns(database, table, *without):
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in without]


def add_models(database, sources):
    """The keys of model and series of each run of each model."""
    keys = {run: [] for run in sources}
    digest, dtype = database.execute("SELECT digest, dtype FROM model").fetchone()
    names = columns(database, "series", "id", "architecture", "model")
    for index in range(MODELS):
        model = database.execute(
            "INSERT INTO model (digest, dtype, name) VALUES (?, ?, ?)",
            (f"{digest[:-2]}{index:02x}", dtype + "x", f"model-{index}")).lastrowid
        for run in sources:
            series = database.execute(
                f"INSERT INTO series (architecture, model, {', '.join(names)}) "
                f"SELECT 'a{index}', CASE model WHEN '' THEN '' ELSE ? END, {', '.join(names)} "
                "FROM series WHERE id = (SELECT series_id FROM run WHERE id = ?)",
                (f"model-{index}", run)).lastrowid
            keys[run].append((model, series))
    return keys


def grow(path, nights):
    """Appends nights of all models to a history with a verification and a profile."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    sources = [row[0] for row in database.execute("SELECT id FROM run ORDER BY id")]
    keys = add_models(database, sources)
    varied = ("id", "uuid", "started_at", "model_id", "series_id", "total_median_ns")
    names = ", ".join(columns(database, "run", *varied))
    host = ", ".join(columns(database, "repetition", "run_id"))
    for night in range(nights):
        for model in range(MODELS):
            start = FIRST_NIGHT + datetime.timedelta(days=night, minutes=model)
            for source in sources:
                row = keys[source][model]
                run = database.execute(
                    f"INSERT INTO run (uuid, started_at, model_id, series_id, total_median_ns, {names}) "
                    f"SELECT ?, ?, ?, ?, total_median_ns * ?, {names} FROM run WHERE id = ?",
                    (str(uuid.UUID(int=random.getrandbits(128))), start.strftime("%Y-%m-%dT%H:%M:%SZ"),
                     *row, random.gauss(1, 0.02), source)).lastrowid
                database.execute(
                    "INSERT INTO latency SELECT ?, layer_id, samples, median_ns, wall, cpu "
                    "FROM latency WHERE run_id = ?", (run, source))
                database.execute(
                    f"INSERT INTO repetition (run_id, {host}) SELECT ?, {host} FROM repetition "
                    "WHERE run_id = ?", (run, source))
    marks = ", ".join("?" for _ in sources)
    database.execute(f"DELETE FROM run WHERE id IN ({marks})", sources)
    database.commit()
    count = database.execute("SELECT count(*), max(id) FROM run").fetchone()
    samples = database.execute("SELECT sum(samples) FROM latency").fetchone()[0]
    database.close()
    return count[0], count[1], samples


def seconds(command, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times.append(time.perf_counter() - start)
        # A gate may be inconclusive.
        if done.returncode not in (0, 1, 3):
            raise SystemExit(f"{command}: {done.returncode} {done.stderr.decode()}")
    return statistics.median(times)


def measure(program, folder, nights):
    path = os.path.join(folder, f"{nights}.sqlite")
    digits = str(FIXTURES / "sana-digits")
    golden = str(FIXTURES / "goldens" / "sana-digits-b1-t1.safetensors")
    subprocess.run([program, "verify", digits, "--reference", golden, "--db", path, "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run([program, "profile", digits, "--size", "512", "--repeat", "10", "--db", path, "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    runs, last, samples = grow(path, nights)
    history = [program, "history"]
    query = f"SELECT * FROM layer_result WHERE run_id = {last // 2}"
    page = os.path.join(folder, "report.html")
    return {
        "runs": f"{runs:,}",
        "latency samples": f"{samples:,}",
        "file": f"{os.path.getsize(path) / 1e6:.1f} MB",
        "list": seconds([*history, "list", "--db", path]),
        "show": seconds([*history, "show", str(last // 2), "--db", path]),
        "gate": seconds([*history, "gate", "--db", path]),
        "report": seconds([*history, "report", "--output", page, "--db", path]),
        "sqlite3, layer_result of a run": seconds(["sqlite3", path, query]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the built sana-tools")
    parser.add_argument("--nights", type=int, nargs="*", default=[365, 3650])
    parser.add_argument("--output", help="Markdown file (default: stdout)")
    arguments = parser.parse_args()
    program = os.path.abspath(arguments.program)
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(program, folder, nights) for nights in arguments.nights]
    lines = ["# What a history costs as it gets older", "",
             f"Made by `python3 benchmarks/history.py {arguments.program} --output reports/history.md` on "
             f"{os.cpu_count()} CPUs ({platform.machine()}), SQLite {sqlite3.sqlite_version}: {MODELS} models, "
             "verified and profiled every night (73 layers, 10 repetitions). Times are medians of "
             "5 runs of the whole command, in seconds.", "",
             "| | " + " | ".join(f"{nights} nights" for nights in arguments.nights) + " |",
             "|---|" + "---:|" * len(results)]
    for name in results[0]:
        cells = [result[name] if isinstance(result[name], str) else f"{result[name]:.3f}"
                 for result in results]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if arguments.output:
        pathlib.Path(arguments.output).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
