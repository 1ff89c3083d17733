"""The real workflow, killed (SIGKILL) at random moments of its jobs, ends with the bytes of one undisturbed.

Every job has a number of kills to suffer. The moment is drawn from the job's length, in processor time (a loaded
machine does not move it), counted from its first sign of work: the import of torch before it is no work. A kill hits
the job alone (Snakemake starts it again), Snakemake alone (its jobs die with it), or the whole process group, as when
a machine goes down.
"""

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("C2O_DRILL_SEED", "20"))
SOLVER = "SOLVER.IMS_PER_BATCH: 2, SOLVER.CHECKPOINT_PERIOD: 20"
SUITE = f"""\
name: drill
title: A suite to be killed
dataset: configs/data/digits_mini.yaml
train_seeds: [0, 1]
eval_seeds: [0, 1]
experiments:
  backbone: {{model: configs/models/digits/backbone.yaml, shared: true, opts: {{SOLVER.MAX_ITER: 44, {SOLVER}}}}}
  baseline: {{model: configs/models/digits/baseline.yaml, init: backbone, opts: {{SOLVER.MAX_ITER: 44, {SOLVER}}}}}
  student:
    model: configs/models/digits/distill_20to1.yaml
    init: baseline
    teacher: baseline
    opts: {{SOLVER.MAX_ITER: 24, {SOLVER}, MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP: 2}}
rows:
  - {{exp_id: baseline_1, experiment: baseline, sample_step: 1}}
  - {{exp_id: baseline_4, experiment: baseline, sample_step: 4}}
  - {{exp_id: student_1, experiment: student, sample_step: 1}}
main_table:
  - {{method: Student, type: distilled, backbone: small, epochs: 1, exp_id: student_1}}
comparisons:
  - {{a: student_1, b: baseline_1}}
"""
# Kills that a job of a rule has to suffer at most. Trainings: 5 jobs, evaluations: 4, of the others there is one.
KILLS = {"train": 2, "evaluate": 1, "tables": 1, "manifest": 2, "bundle": 2, "verify": 1, "freeze": 2}
ENOUGH = {"train": 9, "evaluate": 4}  # of all jobs of a rule
AT_LEAST = {"train": 8, "evaluate": 4, "manifest": 1, "bundle": 1, "freeze": 1}
# Parts of a job's length. A training saves a state after 20 of 44 or 24 iterations: the first kill of each second
# training is drawn from before that, that of the others from the moment on when it is there.
EARLY, ONCE_SAVED, ALL = (0.0, 0.4), (0.0, 0.1), (0.0, 0.8)
# Hold times, or digests of what holds times; events for TensorBoard are no results.
TIMES = re.compile(
    r".*/(record\.json|SHA256SUMS|ro-crate-metadata\.json|report\.html|verify\.json|\.snakemake_timestamp)"
    r"|results/drill/tensorboard/.*"
)
POLL_S = 0.03


def checkout_class():
    spec = importlib.util.spec_from_file_location("workflow_conftest", ROOT / "tests/workflow/conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Checkout


class Jobs:
    """The jobs that run below Snakemake, as /proc shows them."""

    def __init__(self, checkout) -> None:
        self.checkout = checkout

    def now(self, driver: int) -> dict[int, tuple[str, str]]:
        """Process, rule and log of each running job."""
        found = {}
        for child in self._children(driver):
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
                log = os.readlink(f"/proc/{child}/fd/1")
            except OSError:
                continue
            if (match := re.search(r"\.snakemake/scripts/[^\0]*\.(\w+)\.py", command)) and "/logs/" in log:
                found[child] = (match[1], log)
        return found

    def _children(self, pid: int) -> list[int]:
        found = []
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                children = (task / "children").read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                found += [child, *self._children(child)]
        return found

    @staticmethod
    def works(pid: int, rule: str) -> bool:
        """Whether a job is at work: training and evaluation first load torch, torchvision last of it."""
        try:
            return rule not in ("train", "evaluate") or "/torchvision/_C" in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return False

    @staticmethod
    def spent(pid: int) -> float:
        """Processor time of a job so far, in seconds; infinite if it is no more."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("inf")
        if fields[0] == "Z":
            return float("inf")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Observer:
    """Runs Snakemake and sees its jobs come, work and go."""

    def __init__(self, checkout) -> None:
        self.checkout = checkout
        self.jobs = Jobs(checkout)
        self.lengths: dict[str, float] = {}  # processor time of a job from its first sign of work on, by log

    def run(self) -> None:
        """Undisturbed; how long each job worked."""
        process, began = self.checkout.start("deliverables/drill"), {}
        while process.poll() is None:
            for pid, (rule, log) in self.jobs.now(process.pid).items():
                if log not in began and self.jobs.works(pid, rule):
                    began[log] = self.jobs.spent(pid)
                if log in began and (now := self.jobs.spent(pid)) < float("inf"):
                    self.lengths[Path(log).relative_to(self.checkout.path).as_posix()] = now - began[log]
            time.sleep(POLL_S)
        assert process.returncode == 0, (self.checkout.path / "output.txt").read_text()


class Killer:
    """Kills what runs until every job has had its kills."""

    def __init__(self, checkout, lengths: dict[str, float], chance: random.Random) -> None:
        self.checkout = checkout
        self.jobs = Jobs(checkout)
        self.lengths = lengths
        self.chance = chance
        self.suffered: Counter[str] = Counter()  # by log
        self.counts: Counter[str] = Counter()  # by rule
        self.ways: Counter[str] = Counter()
        self.due: dict[int, float] = {}
        self.firsts: dict[str, tuple[float, float]] = {}  # where the first kill of a training is drawn from, by log
        self.to_resume = 0  # trainings killed when they had a saved state, so that the next one resumes from it

    def run(self) -> None:
        for _ in range(60):
            process = self.checkout.start("deliverables/drill", "--retries", "20")
            self.due = {}
            while process.poll() is None:
                self._step(process)
                time.sleep(POLL_S)
            output = (self.checkout.path / "output.txt").read_text()
            if process.returncode == 0:
                return
            assert process.returncode == -signal.SIGKILL, f"seed {SEED}: {output}"
            self._clear_up()
        raise AssertionError(f"seed {SEED}: 60 runs, and not done: {self.counts}")

    def _clear_up(self) -> None:
        """`c2o gc` after a crash takes nothing that a training resumes from."""
        results, states = self.checkout.path / "results/drill/train", self.checkout.path / "results/.state/drill"
        begun = {
            path
            for path in states.glob("*/*/state*.safetensors")
            if not (results / path.parent.relative_to(states) / "record.json").exists()
        }
        command = [sys.executable, "-m", "c2o_evidence.cli", "gc"]
        swept = subprocess.run(
            command, cwd=self.checkout.path, env=self.checkout.environment, capture_output=True, text=True
        )
        assert swept.returncode == 0, f"seed {SEED}: {swept.stdout}{swept.stderr}"
        assert [path for path in begun if not path.exists()] == [], f"seed {SEED}: {swept.stdout}"

    def _step(self, process: subprocess.Popen[bytes]) -> None:
        working = {}
        for pid, (rule, log) in self.jobs.now(process.pid).items():
            name = Path(log).relative_to(self.checkout.path).as_posix()
            if self.jobs.works(pid, rule):
                working[pid] = (rule, name)
                enough = self.counts[rule] >= ENOUGH.get(rule, 99) or self.suffered[name] >= KILLS.get(rule, 0)
                if pid not in self.due and not enough:
                    part, length = self._part(rule, name), self.lengths.get(name, 0.3)
                    if part != ONCE_SAVED or self._has_saved(name):
                        self.due[pid] = self.jobs.spent(pid) + length * self.chance.uniform(*part)
        for pid in working:
            if self.due.get(pid, float("inf")) <= self.jobs.spent(pid) < float("inf"):
                self._kill(process, pid, working)
                return

    def _part(self, rule: str, name: str) -> tuple[float, float]:
        """The part of a job's length that its next kill is drawn from."""
        if rule != "train":
            return ALL
        if self.suffered[name]:
            return EARLY
        self.firsts.setdefault(name, EARLY if len(self.firsts) % 2 else ONCE_SAVED)
        return self.firsts[name]

    def _kill(self, process: subprocess.Popen[bytes], pid: int, working: dict[int, tuple[str, str]]) -> None:
        way = self.chance.choice(("job", "job", "Snakemake", "group"))
        hit = {pid: working[pid]} if way == "job" else working
        try:
            if way == "job":
                os.kill(pid, signal.SIGKILL)
            elif way == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        for rule, name in hit.values():
            self.counts[rule] += 1
            self.suffered[name] += 1
            self.to_resume += rule == "train" and self._has_saved(name)
        self.ways[way] += 1
        del self.due[pid]
        if way != "job":
            process.wait()
            self._wait_for_death(hit)

    def _has_saved(self, log: str) -> bool:
        """Whether the training of a log (logs/drill/train/EXPERIMENT/seedS.log) has saved its state."""
        experiment, seed = Path(log).parts[-2:]
        state = self.checkout.path / "results/.state/drill" / experiment / seed.removesuffix(".log")
        return any(state.glob("state*.safetensors"))

    @staticmethod
    def _wait_for_death(pids) -> None:
        """The jobs ask Linux to be killed with Snakemake: nothing of them may write on beside the next run."""
        until = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < until, f"seed {SEED}: a job outlives Snakemake"
            time.sleep(POLL_S)


def results(checkout) -> dict[str, bytes]:
    """What must be the same bytes however often the build was killed."""
    found = checkout.files("data/digits_mini", "results/drill", "deliverables")
    found |= {"results_manifest": (checkout.path / "manifests/results_manifest.tsv").read_bytes()}
    return {path: data for path, data in found.items() if not TIMES.fullmatch(path)}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    checkout = checkout_class().create(tmp_path_factory.mktemp("pristine") / "checkout", stubs=False)
    (checkout.path / "configs/suites/drill.yaml").write_text(SUITE)
    return checkout


def test_a_build_killed_in_every_job_gives_the_bytes_of_an_undisturbed_one(
    pristine, tmp_path, record_property, capsys
) -> None:
    observer = Observer(pristine.copy(tmp_path / "undisturbed"))
    observer.run()
    killer = Killer(pristine.copy(tmp_path / "killed"), observer.lengths, random.Random(SEED))
    killer.run()
    with capsys.disabled():
        counted = ", ".join(f"{rule} {count}" for rule, count in sorted(killer.counts.items()))
        print(f"\nkills: {counted}; by {dict(killer.ways)}; to resume {killer.to_resume} (seed {SEED})", end="")
    for rule, count in killer.counts.items():
        record_property(f"kills {rule}", count)
    assert {rule: n for rule, n in AT_LEAST.items() if killer.counts[rule] < n} == {}, f"seed {SEED}: {killer.counts}"
    assert killer.to_resume > 0, f"seed {SEED}: no training was killed while it had something to resume from"
    expected, found = results(observer.checkout), results(killer.checkout)
    assert sum(path.startswith("results/") and path.endswith(".safetensors") for path in expected) == 5 + 4 + 9
    assert sorted(p for p in expected.keys() | found if expected.get(p) != found.get(p)) == [], f"seed {SEED}"
    assert killer.checkout.planned("deliverables/drill") == []
    left = [p.relative_to(killer.checkout.path).as_posix() for p in killer.checkout.path.rglob(".*.tmp")]
    left += [p.name for p in (killer.checkout.path / "deliverables").glob(".*.freeze-*")]
    assert left == [], f"seed {SEED}: left behind: {left}"
    command = [sys.executable, "-m", "c2o_evidence.cli", "verify", "deliverables/drill", "--level", "tables"]
    checked = subprocess.run(
        command, cwd=killer.checkout.path, env=killer.checkout.environment, capture_output=True, text=True
    )
    assert checked.returncode == 0, f"seed {SEED}: {checked.stdout}{checked.stderr}"
