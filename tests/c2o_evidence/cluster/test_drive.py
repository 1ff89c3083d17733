"""What is started again, how often, and what is refused before anything starts: with a Snakemake made by hand."""

import io
import os
from pathlib import Path

import pytest

from c2o_evidence import cli
from c2o_evidence.cluster import drive, ready
from c2o_evidence.cluster.drive import Driving, run_on_slurm
from c2o_evidence.errors import ClusterError
from c2o_evidence.run import Build
from tests.c2o_evidence.conftest import Repository

AWAY = (
    "    message: SLURM sbatch failed. The error message was 'sbatch: error: Batch job submission failed: "
    "Unable to contact slurm controller (connect failure)'."
)
ASKED = "Error: squeue: slurm_load_jobs error: Unable to contact slurm controller (connect failure); look with x"
REFUSED = "    message: SLURM sbatch failed. The error message was 'sbatch: error: Invalid account'."
DONE = "3 of 9 steps (33%) done"


@pytest.fixture
def root(repo: Repository) -> Path:
    return repo.root


class Snakemake:
    """Ends as is told, run by run: an exit code or the reason of the watchdog, and the lines of its log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *runs: tuple[int | str, list[str]]) -> None:
        self.runs = list(runs)
        self.arguments: list[list[str]] = []
        self.happened: list[str] = []
        snakemake = self

        def run(build: Build, extra: list[str], view: object) -> tuple[int, bool]:
            snakemake.arguments.append(extra)
            snakemake.happened.append("run")
            end, lines = snakemake.runs.pop(0)
            for line in lines:
                build.log.feed(line)
            build.stalled = end if isinstance(end, str) else ""
            if end == 0:
                (build.root / build.target).mkdir(parents=True)
            return (end, False) if isinstance(end, int) else (-9, end == "Ctrl-C")

        def clear(root: Path, keep: bool, say: object, whose: str = "") -> int:
            snakemake.happened.append("wait" if keep else "cancel")
            return 0

        monkeypatch.setattr(Build, "run", run)
        monkeypatch.setattr(drive, "clear_orphans", clear)
        monkeypatch.setattr(drive, "require_slurm", lambda root, extra: None)
        monkeypatch.setattr(drive, "wait_for_slurm", lambda say: snakemake.happened.append("ask"))
        monkeypatch.setattr(drive.time, "sleep", lambda seconds: None)


def drive_toy(root: Path, **driving: object) -> tuple[int, str]:
    out = io.StringIO()
    code = run_on_slurm("toy", ["--jobs", "5"], root, Driving(**driving), out)  # type: ignore[arg-type]
    return code, out.getvalue()


def test_the_command_line_and_the_order_of_things(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snakemake = Snakemake(monkeypatch, (0, []))
    code, said = drive_toy(root, keep_orphans=True)
    assert code == 0 and "deliverables/toy is complete" in said
    (arguments,) = snakemake.arguments
    assert arguments[:3] == ["--workflow-profile", "profiles/slurm", "--slurm-jobname-prefix"]
    assert arguments[3].startswith("c2o-toy-") and arguments[4:] == ["--jobs", "5"]
    assert snakemake.happened == ["wait", "run"]
    own = ready.slurm_arguments(root, "toy", ["--profile=mine", "--slurm-jobname-prefix", "p"])
    assert own == ["--profile=mine", "--slurm-jobname-prefix", "p"], "what the user says holds"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ((-9, []), "the driver was killed (signal 9): restart 1 of 3"),
        (("silence", []), "the driver made no progress (silence): restart 1 of 3"),
        ((1, [AWAY]), "SLURM's controller was away when it was needed: restart 1 of 3"),
        ((1, [ASKED]), "SLURM's controller was away when it was needed: restart 1 of 3"),
    ],
)
def test_what_is_started_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[int | str, list[str]], why: str
) -> None:
    snakemake = Snakemake(monkeypatch, first, (0, []))
    code, said = drive_toy(root)
    assert code == 0 and why in said
    assert snakemake.happened == ["cancel", "run", "ask", "cancel", "run"]


@pytest.mark.parametrize("lines", [["Error: nothing"], [REFUSED]])
def test_a_failure_is_the_answer(root: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    snakemake = Snakemake(monkeypatch, (1, lines))
    code, said = drive_toy(root)
    assert code == 1 and "restart" not in said and "what is done is kept" in said
    assert snakemake.happened == ["cancel", "run", "cancel"], "no job stays behind"


def test_an_interrupt_is_no_reason_to_start_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Snakemake(monkeypatch, ("Ctrl-C", []))
    code, said = drive_toy(root)
    assert code == 130 and "`c2o run toy --on slurm` resumes" in said


def test_restarts_are_bounded_between_finished_steps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snakemake = Snakemake(monkeypatch, (-9, []), (-9, []), (-9, [DONE]), (-9, []), (-9, []))
    code, said = drive_toy(root, restarts=2)
    assert code == 1 and snakemake.runs == [] and snakemake.happened[-2:] == ["run", "cancel"]
    assert [line[10:] for line in said.splitlines() if "killed" in line] == [
        "the driver was killed (signal 9): restart 1 of 2",
        "the driver was killed (signal 9): restart 2 of 2",
        "the driver was killed (signal 9): restart 1 of 2",  # a step was finished
        "the driver was killed (signal 9): restart 2 of 2",
        "the driver was killed (signal 9); not started again after 2 restarts without a finished step",
    ]


def test_jobs_that_cannot_be_cancelled_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Snakemake(monkeypatch, ("Ctrl-C", []))
    calls = iter([0, ClusterError("squeue: no")])

    def clear(*_: object) -> int:
        if isinstance(answer := next(calls), Exception):
            raise answer
        return 0

    def away(root: Path) -> list[object]:
        raise ClusterError("squeue: no")

    monkeypatch.setattr(drive, "clear_orphans", clear)
    monkeypatch.setattr(drive, "jobs_here", away)
    code, said = drive_toy(root)
    assert code == 130
    assert "squeue: no\nits SLURM jobs may run on; the next `c2o run --on slurm` finds them" in said


def test_what_is_missing_is_told_before_anything_runs(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    programs = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(programs))

    def refused() -> str:
        assert cli.main(["--root", str(root), "run", "toy", "--on", "slurm"]) == 2
        return capsys.readouterr().err

    assert "c2o run: profiles/slurm: is missing; restore it from the repository, or name a profile" in refused()
    (root / "profiles/slurm").mkdir(parents=True)
    assert "SLURM: sbatch, squeue, scancel not found on PATH; type this on a submit host (login node)" in refused()
    for name in ("sbatch", "squeue", "scancel"):
        (programs / name).write_text("#!/bin/sh\necho 'error: Unable to contact slurm controller' >&2; exit 1\n")
        os.chmod(programs / name, 0o755)
    assert "c2o run: SLURM's controller does not answer: squeue: error: Unable to contact slurm controller" in refused()
    monkeypatch.setattr(ready, "PLUGIN", "snakemake_executor_plugin_absent")
    assert "pip install snakemake-executor-plugin-absent" in refused()
    assert not (root / "logs").exists() and not (root / ".snakemake").exists()


def test_slurm_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ClusterError("squeue: no")] * 3 + [None])

    def ask(*command: str) -> str:
        if (answer := next(answers)) is not None:
            raise answer
        return ""

    said: list[str] = []
    pauses: list[float] = []
    monkeypatch.setattr(ready, "ask", ask)
    monkeypatch.setattr(ready.time, "sleep", pauses.append)
    ready.wait_for_slurm(said.append)
    assert said == ["waiting for SLURM: squeue: no"] and pauses == [1.0, 2.0, 4.0]
    answers = iter([ClusterError("squeue: no")] * 3)
    with pytest.raises(ClusterError, match="squeue: no"):
        ready.wait_for_slurm(said.append, timeout=-1.0)


@pytest.mark.parametrize(
    ("typed", "extra", "driving"),
    [
        ("toy --on slurm", [], Driving()),
        ("--on slurm toy -n", ["-n"], Driving()),
        (
            "toy --jobs 5 --on=slurm --orphans wait --config a=1 --patience 7 --restarts 0",
            ["--jobs", "5", "--config", "a=1"],
            Driving(True, 7.0, 0),
        ),
        ("toy --on slurm -- --patience x", ["--patience", "x"], Driving()),
    ],
)
def test_what_is_typed(
    root: Path, monkeypatch: pytest.MonkeyPatch, typed: str, extra: list[str], driving: Driving
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(drive, "run_on_slurm", lambda *arguments: seen.append(arguments) or 0)
    assert cli.main(["--root", str(root), "run", *typed.split()]) == 0
    assert seen == [("toy", extra, root, driving)]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--orphans", "wait"], "--orphans: only with --on slurm"),
        (["--on", "slurm", "--patience", "0"], "0: must be more than 0"),
        (["--on", "slurm", "--restarts", "-1"], "-1: must be 0 or more"),
        (["--on", "moon"], "invalid choice: 'moon'"),
    ],
)
def test_what_is_typed_wrongly(root: Path, capsys: pytest.CaptureFixture[str], typed: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["--root", str(root), "run", "toy", *typed])
    assert error.value.code == 2 and message in capsys.readouterr().err
