"""Checkouts of this repository in temporary directories, with a small suite, and Snakemake run in them."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "Snakefile",
    "workflow",
    "profiles",
    "configs",
    "requirements",
    "environment.yml",
    "c2o_model",
    "c2o_evidence",
)

SUITE = """\
name: tiny
title: A suite for tests
dataset: configs/data/digits_mini.yaml
train_seeds: [0, 1]
eval_seeds: [0, 1]
experiments:
  backbone: {model: configs/models/digits/backbone.yaml, shared: true, opts: {SOLVER.MAX_ITER: 4}}
  baseline: {model: configs/models/digits/baseline.yaml, init: backbone, opts: {SOLVER.MAX_ITER: 6}}
  warmstart: {model: configs/models/digits/warmstart.yaml, init: baseline, opts: {SOLVER.MAX_ITER: 6}}
  student: # a student of the warm start
    model: configs/models/digits/distill_20to1.yaml
    init: warmstart
    teacher: warmstart
    opts: {SOLVER.MAX_ITER: 4}
rows:
  - {exp_id: baseline_1, experiment: baseline, sample_step: 1}
  - {exp_id: warmstart_1, experiment: warmstart, sample_step: 1}
  - {exp_id: warmstart_4, experiment: warmstart, sample_step: 4}
  - {exp_id: student_1, experiment: student, sample_step: 1}
main_table:
  - {method: Student, type: distilled, backbone: small, epochs: 1, exp_id: student_1}
comparisons:
  - {a: student_1, b: warmstart_1}
speedups:
  - {fast: student_1, slow: warmstart_4}
timing: {images: 2, batch: 1, warmup: 0, repeats: 1, train_seed: 0}
attention: {nodes: [50], heads: 2, dim: 32, repeats: 1}
gallery: {rows: [warmstart_4, student_1], images: 2}
"""

# Small batches, and a saved state in the middle of every training but the backbone's, to resume from.
SMALL = "SOLVER.IMS_PER_BATCH: 2, SOLVER.CHECKPOINT_PERIOD: 20"
DISTILL = "MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES: 2, MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP: 4"
BUDGET = {
    "shared: true, opts: {": f"shared: true, opts: {{{SMALL}, ",
    "init: backbone, opts: {SOLVER.MAX_ITER: 6": f"init: backbone, opts: {{SOLVER.MAX_ITER: 44, {SMALL}",
    "init: baseline, opts: {SOLVER.MAX_ITER: 6": f"init: baseline, opts: {{SOLVER.MAX_ITER: 44, {SMALL}",
    "SOLVER.MAX_ITER: 4}\nrows": f"SOLVER.MAX_ITER: 24, {SMALL}, {DISTILL}}}\nrows",
}

# Stands in for every script but job.py: the same outputs with made-up content, in no time.
STUB = """\
from job import job

with job(snakemake) as running:
    import time
    from pathlib import Path

    from c2o_evidence.digests import write_sidecar
    from c2o_evidence.errors import EvidenceError

    if "recipe" in snakemake.params.keys():
        w = snakemake.wildcards
        running.as_planned(running.suite.recipe(w.experiment, int(w.seed)).digest)
    while Path("stub.wait").exists():
        time.sleep(0.02)
    if running.title in (Path("stub.fail").read_text() if Path("stub.fail").exists() else ""):
        raise EvidenceError(f"{running.title}: fails as asked")
    print("hash of c2o:", hash("c2o"))
    with open("stub.ran", "a") as ran:
        print(running.title, file=ran)
    for path in map(Path, snakemake.output):
        if snakemake.rule == "freeze":
            bundle = Path("deliverables", running.suite.name)
            bundle.mkdir(parents=True, exist_ok=True)
            (bundle / "SHA256SUMS").write_text(f"{list(snakemake.params)}\\n")
        if path.suffix == ".sha256":
            write_sidecar(path.with_suffix(""))
        elif path.name in ("figures", "images"):
            path.mkdir()
            (path / "content").write_text("content")
        else:
            path.write_text(f"{running.title} {list(snakemake.params)}\\n")
"""


class Checkout:
    """A copy of the repository at `path`, with the suite `tiny`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "SNAKEMAKE"))}
        self.environment["XDG_CACHE_HOME"] = str(path.parent / "cache")  # Snakemake keeps sources in ~/.cache

    @classmethod
    def create(cls, path: Path, stubs: bool) -> "Checkout":
        path.mkdir(parents=True)
        for name in COPIED:
            source, target = ROOT / name, path / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        if stubs:
            for script in (path / "workflow" / "scripts").glob("*.py"):
                if script.name != "job.py":
                    script.write_text(STUB)
        (path / "configs" / "suites" / "tiny.yaml").write_text(SUITE)
        return cls(path)

    def copy(self, path: Path, *without: str) -> "Checkout":
        """Everything, results and Snakemake's metadata too, in another place; but not what is called `without`."""
        shutil.copytree(self.path, path, symlinks=True, ignore=shutil.ignore_patterns(*without))
        return Checkout(path)

    def c2o(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line of the checkout's own c2o_evidence."""
        command = [sys.executable, "-m", "c2o_evidence.cli", *arguments]
        return subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=400)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments]

    def run(self, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Snakemake to its end; stderr is put behind stdout."""
        return self.call(*self.command(*arguments), timeout=timeout)

    def call(self, *command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """A command to its end; stderr is put behind stdout."""
        return subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def build(self, target: str = "deliverables/tiny", *arguments: str) -> str:
        """Build a target, which must work; the output."""
        done = self.run(target, *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def evidence(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`c2o` in the checkout, with its own copy of the sources."""
        command = [sys.executable, "-m", "c2o_evidence.cli", *arguments]
        return subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Snakemake as the leader of a process group of its own; its output goes to `output.txt`."""
        with open(self.path / "output.txt", "wb") as output:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.path,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to the whole process group of `start`, as when a machine goes down."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def planned(self, target: str = "deliverables/tiny") -> list[str]:
        """The messages of the jobs that a dry run would run, sorted; empty where nothing is to be done."""
        done = self.run(target, "--dry-run")
        assert done.returncode == 0, done.stdout
        jobs = sorted(re.findall(r"^Job \d+: (.*)$", done.stdout, re.MULTILINE))
        assert bool(jobs) != ("Nothing to be done" in done.stdout), done.stdout
        return jobs

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = (self.path / name).read_text()
        assert old in text, f"{name}: {old}"
        (self.path / name).write_text(text.replace(old, new))

    def files(self, *below: str) -> dict[str, bytes]:
        """Content by relative path of all files below some directories."""
        places = [path for name in below for path in sorted((self.path / name).rglob("*")) if path.is_file()]
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in places}


@pytest.fixture(scope="session")
def checkouts() -> type[Checkout]:
    """The class, for tests that make checkouts of their own."""
    return Checkout


@pytest.fixture(scope="session")
def stub_build(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout where the suite `tiny` has been built by stubs. Do not change it: `copy` it."""
    checkout = Checkout.create(tmp_path_factory.mktemp("stub") / "checkout", stubs=True)
    checkout.build()
    return checkout


@pytest.fixture
def built(stub_build: Checkout, tmp_path: Path) -> Checkout:
    """A copy of `stub_build` of one's own, which is also what a moved directory is."""
    return stub_build.copy(tmp_path / "moved")


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """A checkout with stubs where nothing is built."""
    return Checkout.create(tmp_path / "checkout", stubs=True)


@pytest.fixture(scope="session")
def built_suites(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Three reduced suites built by the real scripts, the last one in a run of its own. Do not change it: `copy` it."""
    checkout = Checkout.create(tmp_path_factory.mktemp("suites") / "checkout", stubs=False)
    checkout.build("deliverables/guidance_sweep_reduced", "deliverables/attention_bench_reduced")
    checkout.build("deliverables/ablation_label_reduced")
    return checkout


@pytest.fixture(scope="session")
def make(checkouts, tmp_path_factory):
    """Makes checkouts with the real scripts and the budget, all of one state of the sources."""
    pristine = checkouts.create(tmp_path_factory.mktemp("pristine") / "checkout", stubs=False)
    for old, new in BUDGET.items():
        pristine.edit("configs/suites/tiny.yaml", old, new)
    return lambda name: pristine.copy(tmp_path_factory.mktemp(name) / "checkout")


@pytest.fixture(scope="session")
def clean(make):
    """The first clean build. Do not change it: copy it."""
    checkout = make("clean")
    checkout.build()
    return checkout
