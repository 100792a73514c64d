"""Slurm of one machine: its controller, its daemon and munge, with files of their own, as root."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = f"{os.environ['PATH']}:/usr/sbin"


class SlurmNode:
    def __init__(self, folder: pathlib.Path, cwd: pathlib.Path, environment: dict[str, str]) -> None:
        """`cwd` is where jobs run."""
        self.folder, self.cwd, self.daemons = folder, cwd, []
        self.environment = environment | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{environment['PATH']}:/usr/sbin"}

    @staticmethod
    def obstacle() -> str | None:
        """Why Slurm cannot run here."""
        absent = [name for name in (*DAEMONS, "sbatch", "scontrol") if not shutil.which(name, path=PATH)]
        if absent:
            return f"{', '.join(absent)} not installed (Debian: slurm-wlm munge)"
        return None if os.geteuid() == 0 else "Slurm's daemons need root"

    def __enter__(self) -> "SlurmNode":
        # munge asks for a path that others can enter and not change.
        for folder in (*reversed(self.folder.relative_to("/tmp").parents), self.folder.relative_to("/tmp")):
            pathlib.Path("/tmp", folder).mkdir(exist_ok=True)
            if folder.parts:
                pathlib.Path("/tmp", folder).chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        host, ports = socket.gethostname().split(".")[0], [free_port(), free_port()]
        (self.folder / "slurm.conf").write_text(f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
        (self.folder / "state").mkdir()
        (self.folder / "spool").mkdir()
        self.start("munged", "--foreground", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                   f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
                   f"--seed-file={self.folder}/munged.seed")
        self.wait_for("munge", (self.folder / "munge.socket").exists)
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D", "-N", host)
        self.wait_for("an idle node", lambda: "State=IDLE" in self.ask("scontrol", "show", "node", host))
        return self

    def __exit__(self, *_) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def start(self, *command: str) -> None:
        log = open(self.folder / f"{command[0]}.out", "w")
        self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def wait_for(self, what: str, holds, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                logs = "".join(path.read_text()[-1000:] for path in self.folder.glob("*.out"))
                raise TimeoutError(f"Slurm: no {what} within {seconds} s\n{logs}")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        return subprocess.run(command, cwd=self.cwd, env=self.environment, capture_output=True, text=True).stdout

    def submit(self, *arguments) -> str:
        """The number of the job."""
        job = self.ask("sbatch", "--parsable", *map(str, arguments)).strip()
        if not job:
            raise RuntimeError(f"sbatch {arguments}: nothing submitted")
        return job

    def exit_codes(self, job: str, seconds: float = 300) -> list[int]:
        """The exit code of each task, when all are done."""
        def states() -> list[str]:
            return re.findall(r"JobState=(\S+)", self.ask("scontrol", "-o", "show", "job", job))

        running = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        self.wait_for(f"end of job {job}", lambda: states() and not set(states()) & set(running), seconds)
        return [int(code) for code in re.findall(r" ExitCode=(\d+):", self.ask("scontrol", "-o", "show", "job", job))]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
