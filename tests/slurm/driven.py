"""A checkout with stubs whose jobs run on the cluster for tests, and `c2o run --on slurm` in it.

The stubs keep a log of who writes what: two writers of one output at a time are told there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.slurm.toy_cluster import ToyCluster, wait_for
from tests.workflow.conftest import STUB, Checkout

SUITE = """\
name: short
title: A suite for tests of the driver
dataset: configs/data/digits_mini.yaml
train_seeds: [0, 1]
eval_seeds: [0, 1]
experiments:
  baseline: {model: configs/models/digits/baseline.yaml, opts: {SOLVER.MAX_ITER: 4}}
rows:
  - {exp_id: baseline_1, experiment: baseline, sample_step: 1}
"""
SHORT = ("--until", "train", "--max-status-checks-per-second", "5")
# The plugin asks SLURM ever more rarely while nothing ends, 10 s later each time: here once a second.
QUICK = """\
import sys
if "snakemake" in sys.orig_argv and "--executor" not in sys.orig_argv:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
    RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1.0, lambda self, value: None)
"""
WRITERS = """\
    import fcntl
    import os

    assert os.environ["C2O_RUN"] == Path(".snakemake/c2o.lock").read_text()

    def note(what):
        with open("stub.writers", "a") as writers:
            print(what, running.title, file=writers)

    alone = open(f"stub.{running.title.replace(' ', '-')}.lock", "w")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("TWICE")
    note("begin")
"""
TRAINED = ("train short baseline 0", "train short baseline 1")


class Driven:
    """A checkout that is driven on `cluster`."""

    def __init__(self, checkout: Checkout, cluster: ToyCluster) -> None:
        self.checkout, self.cluster = checkout, cluster
        self.path = checkout.path
        self.output = self.path / "output.txt"
        checkout.environment |= {**cluster.own_environment(), "PYTHONPATH": str(self.path / "quick")}
        self.wait = self.path / "stub.wait"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`c2o run short --on slurm` up to the trainings; its output goes to `output`, behind what is there."""
        command = [sys.executable, "-m", "c2o_evidence.cli", "run", "short", "--on", "slurm", *SHORT]
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=self.path,
                env=self.checkout.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.checkout.call(sys.executable, "-m", *command, timeout=120)

    def told(self, text: str, timeout: float = 90) -> None:
        """Wait until the driver has said it."""
        wait_for(lambda: text in self.said, timeout, lambda: f"not said: {text}\n{self.said}\n{self.log}")

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    @property
    def log(self) -> str:
        """The logs of all its Snakemakes."""
        return "\n".join(path.read_text() for path in sorted((self.path / "logs/short").glob("snakemake-*.log")))

    @property
    def writers(self) -> list[str]:
        path = self.path / "stub.writers"
        return path.read_text().splitlines() if path.exists() else []

    def began(self, count: int, timeout: float = 90) -> None:
        """Wait until jobs have begun to write, `count` in all."""
        wait_for(
            lambda: sum(line.startswith("begin") for line in self.writers) == count,
            timeout,
            lambda: f"{self.writers}\n{self.said}\n{self.log}",
        )

    def ended(self, process: subprocess.Popen[bytes], timeout: float = 120) -> int:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill(process)
            raise AssertionError(f"does not end:\n{self.said}\n{self.log}") from None

    @staticmethod
    def snakemake_of(process: subprocess.Popen[bytes]) -> int:
        """The Snakemake that a `c2o run` has started."""
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return int(child)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to all of a driver, as when its machine goes down; its SLURM jobs are elsewhere."""
        for group in (self.snakemake_of(process), process.pid):
            os.killpg(group, signal.SIGKILL)
        process.wait()


def create(path: Path) -> Checkout:
    """The checkout with its data set, which a local Snakemake makes; copy it for each test."""
    checkout = Checkout.create(path, stubs=True)
    (path / "configs/suites/short.yaml").write_text(SUITE)
    (path / "quick").mkdir()
    (path / "quick/sitecustomize.py").write_text(QUICK)
    anchor = '    while Path("stub.wait").exists():\n'
    assert anchor in STUB
    noting = STUB.replace(anchor, WRITERS + anchor) + '    note("end")\n'
    (path / "workflow/scripts/train.py").write_text(noting)
    checkout.build("data/digits_mini/manifest.json")
    return checkout
