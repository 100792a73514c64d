#!/usr/bin/env python3
"""Runs each example, or has its own engine check it, with the built program.

Engines: Slurm's daemons on this one node (as root; Debian: slurm-wlm munge), shellcheck, systemd-analyze,
check-jsonschema and zizmor (PyPI). One that is not installed is named, and the exit code is 3: what was not
checked is not good. Needs PyYAML.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

from slurm_node import SlurmNode

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHARDS = 4


class Checks:
    def __init__(self, binary: pathlib.Path, folder: pathlib.Path) -> None:
        self.folder, self.problems, self.skipped = folder, [], []
        (folder / "bin").mkdir()
        (folder / "bin/sana-tools").symlink_to(binary)
        self.environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "NO_COLOR": "1"}

    def run(self, name: str, command: list, codes: tuple = (0,), cwd: pathlib.Path | None = None, **more: str) -> None:
        """Runs a command; another exit code, or nothing to run it with, is noted."""
        if shutil.which(str(command[0]), path=self.environment["PATH"]) is None:
            self.skipped.append(f"{name}: {command[0]} is not installed")
            return
        result = subprocess.run(
            [str(part) for part in command], cwd=cwd or ROOT, env=self.environment | more, capture_output=True,
            text=True, timeout=600)
        print(f"{'ok ' if result.returncode in codes else 'BAD'} {name}: exit {result.returncode}")
        if result.returncode not in codes:
            self.problems.append(f"{name}: exit {result.returncode}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")

    def expect(self, name: str, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(f"{name}: {problem}")


def project(folder: pathlib.Path) -> pathlib.Path:
    """A folder with archives, goldens and sana-tools.yaml, as the examples expect."""
    folder.mkdir()
    shutil.copytree(ROOT / "fixtures/sana-digits", folder / "digits")
    (folder / "goldens").mkdir()
    for golden in (ROOT / "fixtures/goldens").glob("sana-digits-b*.safetensors"):
        shutil.copy(golden, folder / "goldens")
    (folder / "sana-tools.yaml").write_text(
        "model: digits\ndtype: [fp16, int8]\noutput: archives\nreferences: goldens\nresolution: 256\n")
    return folder


def check_shards(checks: Checks, name: str, run_task, cwd: pathlib.Path) -> None:
    """All tasks of an array, then the merge."""
    checks.run(f"{name}: convert", ["sana-tools", "convert", "--quiet"], cwd=cwd)
    for task in range(SHARDS):
        run_task(task)
    shards = sorted((cwd / "shards").glob("*.sqlite"))
    # Two models: a task without one records nothing.
    checks.expect(name, len(shards) >= 2, f"{len(shards)} shards recorded")
    checks.run(f"{name}: merge", ["sana-tools", "history", "merge", *shards, "--db", "history.sqlite"], cwd=cwd)
    checks.run(f"{name}: gate", ["sana-tools", "history", "gate", "--db", "history.sqlite"], codes=(0, 3), cwd=cwd)


def check_scripts(checks: Checks) -> None:
    for script in (EXAMPLES / "nightly.sh", EXAMPLES / "slurm.sbatch"):
        checks.run(f"{script.name}: shellcheck", ["shellcheck", script])
    cwd = project(checks.folder / "cron")
    checks.run("nightly.sh", ["bash", EXAMPLES / "nightly.sh"], codes=(0, 3), SANA_PROJECT=str(cwd))
    checks.expect("nightly.sh", (cwd / "reports/nights.txt").is_file(), "kept no summary")


def check_slurm(checks: Checks) -> None:
    """The array and the job that merges, as the example's first lines say, on a node of one machine."""
    reason = SlurmNode.obstacle()
    if reason:
        checks.skipped.append(f"slurm.sbatch: {reason}")
        return
    cwd = project(checks.folder / "slurm")
    checks.run("slurm.sbatch: convert", ["sana-tools", "convert", "--quiet"], cwd=cwd)
    merge = re.search(r"^#   sbatch --dependency=afterany:JOB --wrap '(.*)'$", (EXAMPLES / "slurm.sbatch").read_text(), re.M)
    with SlurmNode(checks.folder / "node", cwd, checks.environment) as node:
        array = node.submit(EXAMPLES / "slurm.sbatch")
        last = node.submit(f"--dependency=afterany:{array}", "--wrap", merge[1])
        tasks, merged = node.exit_codes(array), node.exit_codes(last)
    print(f"slurm.sbatch: array {array} exited with {tasks}, merge {last} with {merged}")
    checks.expect("slurm.sbatch", len(tasks) == SHARDS and set(tasks) <= {0, 3}, f"tasks exited with {tasks}")
    checks.expect("slurm.sbatch", merged in ([0], [3]), f"the merge exited with {merged}")
    shards = list((cwd / "shards").glob("*.sqlite"))
    checks.expect("slurm.sbatch", len(shards) >= 2, f"{len(shards)} shards recorded")
    checks.run("slurm.sbatch: history", ["sana-tools", "history", "list", "--db", "history.sqlite"], cwd=cwd)


def check_kubernetes(checks: Checks) -> None:
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    container = job["spec"]["template"]["spec"]["containers"][0]
    checks.expect("kubernetes.yaml", job["spec"]["completions"] == SHARDS, f"not {SHARDS} completions")
    checks.expect(
        "kubernetes.yaml", container["resources"]["requests"] == container["resources"]["limits"],
        "requests differ from limits")
    cwd = project(checks.folder / "kubernetes")

    def task(index: int) -> None:
        checks.run(
            f"kubernetes.yaml: completion {index}", container["command"], codes=(0, 3), cwd=cwd,
            JOB_COMPLETION_INDEX=str(index))

    check_shards(checks, "kubernetes.yaml", task, cwd)


def check_systemd(checks: Checks) -> None:
    """The units as the package installs them, in a root that has only what they name."""
    root = checks.folder / "root"
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (root / "usr/bin").mkdir()
    shutil.copy(shutil.which("true"), root / "usr/bin/sana-tools")
    for name in ("sana-tools.service", "sana-tools.timer"):
        shutil.copy(EXAMPLES / name, units)
    system = pathlib.Path("/usr/lib/systemd/system")
    for unit in system.glob("*.target") if system.is_dir() else []:
        shutil.copy(unit, units, follow_symlinks=True)
    checks.run(
        "systemd units", ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", f"--root={root}",
                          "sana-tools.service", "sana-tools.timer"])


def check_github(checks: Checks) -> None:
    checks.run(
        "github-actions.yml: schema",
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", EXAMPLES / "github-actions.yml"])
    checks.run(
        "action.yml: schema", ["check-jsonschema", "--builtin-schema", "vendor.github-actions", ROOT / "action.yml"])
    # Tags are readable in an example; users pin what they copy.
    rules = checks.folder / "zizmor.yml"
    rules.write_text('rules: {unpinned-uses: {config: {policies: {"*": ref-pin}}}}\n')
    checks.run("zizmor", ["zizmor", "--offline", f"--config={rules}", ROOT / "action.yml", EXAMPLES / "github-actions.yml"])
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    for step in action["runs"]["steps"]:
        script = checks.folder / "step.sh"
        script.write_text("#!/bin/bash\n" + step["run"])
        checks.run(f"action.yml: {step['name']}: shellcheck", ["shellcheck", "--exclude=SC2153", script])
    cwd = project(checks.folder / "github")
    summary, output = cwd / "summary.md", cwd / "output.txt"
    checks.run(
        "action.yml: Run sana-tools", ["bash", "-e", script], cwd=cwd,
        ARGUMENTS=action["inputs"]["arguments"]["default"], INCONCLUSIVE="warn", RUNNER_TEMP=str(checks.folder),
        GITHUB_STEP_SUMMARY=str(summary), GITHUB_OUTPUT=str(output), GITHUB_WORKSPACE=str(cwd))
    checks.expect("action.yml", summary.is_file() and "<details" in summary.read_text(), "no step summary")
    checks.expect("action.yml", output.is_file() and "exit-code=" in output.read_text(), "no exit code")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / ".build/release/sana-tools", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(options.binary.resolve(), pathlib.Path(folder))
        for check in (check_scripts, check_slurm, check_kubernetes, check_systemd, check_github):
            check(checks)
    for line in checks.skipped:
        print(f"not checked: {line}")
    print("\n".join(
        [*checks.problems, f"examples-test: {len(checks.problems)} problems, {len(checks.skipped)} not checked"]))
    sys.exit(1 if checks.problems else 3 if checks.skipped else 0)


if __name__ == "__main__":
    main()
