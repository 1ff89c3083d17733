"""Jobs on a real SLURM, interrupted in every way: trainings go on where they were, and nothing else is held up.

One build under all faults at once, so that what is left alone is seen to go on beside them.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.slurm.checkouts import ClusterCheckout
from tests.slurm.toy_cluster import ToyCluster, wait_for
from tests.workflow.conftest import Checkout

OPTS = "opts: {SOLVER.IMS_PER_BATCH: 2, SOLVER.CHECKPOINT_PERIOD: 20, SOLVER.MAX_ITER:"
SUITE = f"""\
name: faults
title: Trainings on a bad day
dataset: configs/data/digits_mini.yaml
train_seeds: [0]
eval_seeds: [0]
experiments:
  sliced: {{model: configs/models/digits/backbone.yaml, {OPTS} 3}}}}
  struck: {{model: configs/models/digits/backbone.yaml, {OPTS} 140}}}}
  cancelled: {{model: configs/models/digits/baseline.yaml, {OPTS} 4}}}}
  failing: {{model: configs/models/digits/baseline.yaml, {OPTS} 5}}}}
  hungry: {{model: configs/models/digits/baseline.yaml, {OPTS} 6}}}}
  last: {{model: configs/models/digits/baseline.yaml, init: cancelled, {OPTS} 7}}}}
rows:
  - {{exp_id: last_1, experiment: last, sample_step: 1}}
"""
SCRIPT = """\
import os
from pathlib import Path

if snakemake.wildcards.experiment in ("sliced", "struck"):
    exec(Path(snakemake.scriptdir, "real.py").read_text())
else:
    from job import job

    with job(snakemake) as running:
        import time

        from c2o_evidence.digests import write_sidecar
        from c2o_evidence.errors import EvidenceError

        experiment = snakemake.wildcards.experiment
        with open("ran", "a") as ran:
            print(experiment, os.environ["SLURM_JOB_ID"], file=ran)
        if experiment == "failing":
            raise EvidenceError("failing: fails as asked")
        while experiment == "cancelled" and not Path("go").exists():
            time.sleep(0.05)
        if experiment == "hungry":
            eaten = b"x" * 350_000_000
            time.sleep(4)
        for path in map(Path, snakemake.output):
            if path.suffix == ".sha256":
                write_sidecar(path.with_suffix(""))
            else:
                path.write_text(f"{experiment}\\n")
"""


PROFILE = "profiles/slurm/config.yaml"
PATIENCE_S = 600  # for a machine under load


def model(experiment: str) -> str:
    return f"results/faults/train/{experiment}/seed0/model.safetensors"


class Build(ClusterCheckout):
    """A checkout whose trainings run on a cluster."""

    def start_on(self, cluster: ToyCluster, *targets: str) -> subprocess.Popen[bytes]:
        self.on(cluster)
        self.cluster = cluster
        with open(self.path / "output.txt", "wb") as output:
            return subprocess.Popen(
                self.slurm_command(*targets),
                cwd=self.path,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return (self.path / "output.txt").read_text()

    def job(self, experiment: str) -> str:
        """The number of the SLURM job that this experiment has now; empty where it has none."""
        rows = self.cluster.squeue("%i|%k|%T", "--states=PENDING,RUNNING,COMPLETING")
        return max((row[0] for row in rows if row[1].endswith(f"_faults_{experiment}_0")), key=int, default="")

    def numbers(self, experiment: str) -> list[str]:
        """Those of all its jobs so far."""
        rows = self.cluster.squeue("%i|%k", "--states=all")
        return sorted((row[0] for row in rows if row[1].endswith(f"_faults_{experiment}_0")), key=int)

    def state(self, experiment: str) -> int:
        """The iteration of the training's saved state; 0 where there is none."""
        found = self.path.glob(f"results/.state/faults/{experiment}/seed0/state-*.safetensors")
        return max((int(re.sub(r"\D", "", path.stem)) for path in found), default=0)

    def log(self, experiment: str) -> str:
        """What the experiment's SLURM jobs have said, one after the other."""
        found = self.path.glob(f"logs/slurm/rule_train/faults_{experiment}_0/*.log")
        return "\n".join(path.read_text() for path in sorted(found, key=lambda path: int(path.stem)))

    def ran(self, experiment: str) -> list[str]:
        """The numbers of the SLURM jobs in which the stand-in for this training ran."""
        path = self.path / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == experiment]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The real trainings, made on this machine and left alone."""
    checkout = Checkout.create(tmp_path_factory.mktemp("calm") / "checkout", stubs=False)
    (checkout.path / "configs/suites/faults.yaml").write_text(SUITE)
    checkout.build(model("sliced"), model("struck"))
    return checkout


@pytest.fixture
def build(calm: Checkout, tmp_path: Path) -> Build:
    checkout = Build(calm.copy(tmp_path / "checkout", "results", "logs").path)
    script = checkout.path / "workflow/scripts/train.py"
    script.rename(script.with_name("real.py"))
    script.write_text(SCRIPT)
    # `struck` has a node of its own, which it loses. SLURM's shortest time is a minute, long for a test: with a margin
    # longer than its time every part of `sliced` stops after its first iteration.
    memory = "{'hungry': 450 * attempt, 'struck': 8000}.get(wildcards.experiment, 2000)"
    checkout.edit(
        PROFILE, "mem_mb: 2000 * threads * attempt\n    runtime: 120 * attempt", f'mem_mb: "{memory}"\n    runtime: 120'
    )
    checkout.edit(PROFILE, "stop_margin_s: 60", "stop_margin_s: 1000000 if wildcards.experiment == 'sliced' else 60")
    return checkout


def test_a_build_under_all_faults_ends_with_what_an_undisturbed_one_makes(
    build: Build, calm: Checkout, cluster: ToyCluster
) -> None:
    names = ("sliced", "struck", "failing", "hungry", "last")
    running = build.start_on(cluster, *map(model, names))
    try:
        with hurried(cluster):
            disturb(build)
            running.wait(PATIENCE_S)
    finally:
        running.kill()
    output = build.output()
    told = f"{output}\n{build.log('struck')}\n{build.log('sliced')}"

    # A walltime shorter than the training: one SLURM job in three parts, which took nothing from the retries.
    (number,) = build.numbers("sliced")
    assert cluster.job(number)["Restarts"] == "2", told
    parts = re.findall(r"train faults sliced 0: (.*?)(?: \(\d+ s\))?$", build.log("sliced"), re.MULTILINE)
    stopped = r"state saved \d+ s before the SLURM job's time is over; SLURM runs the job again"
    assert len(parts) == 3 and all(re.fullmatch(stopped, part) for part in parts[:2]), told

    # Two signals, the end of the time limit and the death of a node, in the middle of one training.
    first, second = build.numbers("struck")
    for name in ("USR1", "TERM"):
        assert f"train faults struck 0: state saved on SIG{name}; SLURM runs the job again" in build.log("struck"), told
    assert cluster.job(first)["JobState"] == "TIMEOUT" and f"SLURM-job '{first}' failed" in output
    assert cluster.job(second)["Restarts"] == "1", told
    for name in ("sliced", "struck"):
        assert (build.path / model(name)).read_bytes() == (calm.path / model(name)).read_bytes(), told

    # What was cancelled, or got too little memory, has run again; what fails always is told and holds up nothing else.
    assert len(build.ran("cancelled")) == len(build.ran("hungry")) == 2 and len(set(build.ran("failing"))) == 3, told
    assert f"SLURM-job '{build.ran('cancelled')[0]}' failed, SLURM status is: 'CANCELLED'" in output
    assert f"SLURM-job '{build.ran('hungry')[0]}' failed" in output
    assert running.returncode == 1 and "Error: failing: fails as asked" in output
    missing = [name for name in (*names, "cancelled") if not (build.path / model(name)).exists()]
    assert missing == ["failing"], told
    assert not cluster.jobs()


def disturb(build: Build) -> None:
    """Strike the running build. Every wait is for a sign that a job has come so far."""
    cluster, told = build.cluster, build.output

    def trainer() -> int:
        lock = build.path / "results/.state/faults/struck/seed0/lock"
        return int(lock.read_text() or 0) if lock.exists() else 0

    def frozen(before: int) -> tuple[str, int]:
        """Halt `struck` in the middle, once another process than `before` has saved a state: SLURM job and process."""
        wait_for(lambda: trainer() not in (0, before), PATIENCE_S, told)
        known = build.state("struck")
        wait_for(lambda: build.state("struck") > known, PATIENCE_S, told)
        process = trainer()
        os.kill(process, signal.SIGSTOP)
        return build.job("struck"), process

    wait_for(lambda: bool(build.ran("cancelled")), PATIENCE_S, told)
    cluster.run("scancel", build.ran("cancelled")[0])
    (build.path / "go").touch()

    process = 0
    for name in ("USR1", "TERM"):
        number, process = frozen(process)
        cluster.run("scancel", f"--signal={name}", number)  # as `sbatch --signal` and preemption do
        os.kill(process, signal.SIGCONT)
    number, process = frozen(process)
    cluster.run("scontrol", "update", f"JobId={number}", "EndTime=now+2")  # SLURM looks every 30 s, and wakes it
    assert cluster.wait_for_job(number) == "TIMEOUT"
    number, process = frozen(process)
    node = cluster.job(number)["NodeList"]
    cluster.node_crash(node)
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=crashed")  # SLURM's patience is 20 s


@contextmanager
def hurried(cluster: ToyCluster) -> Iterator[None]:
    """Jobs that are back in the queue start at once. SLURM lets them wait until the last run's credentials are void."""
    over = Event()

    def hurry() -> None:
        while not over.wait(1):
            for number, reason in cluster.squeue("%i|%r", "--states=PENDING"):
                if reason == "BeginTime":
                    cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now")

    thread = Thread(target=hurry)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
