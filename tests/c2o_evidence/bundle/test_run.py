"""`c2o run`: progress from a real Snakemake, what is told at the end, after a failure and after an interrupt."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2o_evidence.errors import SuiteError
from c2o_evidence.live.state import BuildState, JobLine
from c2o_evidence.live.view import PlainView
from c2o_evidence.progress import (
    Job,
    TrainingProgress,
    format_duration,
    note_host,
    read_progress,
    refined,
    seconds_left,
)
from c2o_evidence.run import Build, only_tells, run_suite, snakemake_command
from c2o_evidence.snakelog import SnakemakeLog
from c2o_evidence.suite import load_suite
from c2o_evidence.workload import jobs_of

SNAKEFILE = """\
rule deliver:
    input: "work/a.txt"
    output: directory("deliverables/toy")
    log: "logs/deliver.log"
    shell: "mkdir -p {output}/tables && cp results/toy/tables/summary.md {output}/tables/"

rule first:
    output: "work/a.txt"
    log: "logs/first.log"
    shell: "COMMAND"
"""


def build(root: Path, command: str) -> tuple[int, str]:
    (root / "Snakefile").write_text(SNAKEFILE.replace("COMMAND", command))
    stream = io.StringIO()
    code = run_suite("toy", ["--cores", "1"], root, stream)
    return code, stream.getvalue()


def test_success_tells_where_the_result_is(root: Path) -> None:
    code, text = build(root, "echo hello > {output}")
    assert code == 0
    assert "deliverables/toy is complete" in text
    assert "| Baseline, 1 step | 1 | 4 |" in text
    assert "verify:  c2o verify deliverables/toy --level tables" in text
    assert re.match(r"\d\d:\d\d:\d\d  planning", text)
    (log,) = (root / "logs" / "toy").glob("snakemake-*.log")
    assert "rule first:" in log.read_text()
    assert build(root, "echo hello > {output}")[0] == 0  # nothing to do is success too


def test_failure_names_the_rule_and_the_end_of_its_log(root: Path) -> None:
    code, text = build(root, "echo the reason > {log}; exit 3")
    assert code == 1
    assert "failed: first" in text
    assert "the last lines of logs/first.log:\n    the reason" in text
    assert "look deeper:      less logs/first.log" in text
    assert "what is done is kept" in text


def test_a_killed_snakemake_is_a_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Build, "run", lambda *_: (-9, False))
    out = io.StringIO()
    assert run_suite("toy", [], root, out) == 1
    assert "what is done is kept" in out.getvalue()


def test_the_command_as_typed_is_the_one_that_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2O_TYPED", "make toy")  # as the Makefile does
    out = io.StringIO()
    for end in ((1, False), (1, True), (0, False)):
        monkeypatch.setattr(Build, "run", lambda *_, end=end: end)
        assert run_suite("toy", ["--until", "first"], root, out) == {(1, False): 1, (1, True): 130, (0, False): 0}[end]
    told = out.getvalue()
    assert told.count("make toy") == 3 and "c2o run" not in told
    assert "done as far as asked (--until), 0s; deliverables/toy was not made\ngo on:   make toy\n" in told
    assert "complete" not in told


def test_unknown_suite_is_told_before_anything_runs(root: Path) -> None:
    with pytest.raises(SuiteError, match="nosuch"):
        run_suite("nosuch", [], root)
    assert not (root / "logs").exists()


def test_interrupt_reaches_snakemake_and_its_job(root: Path) -> None:
    job = "trap 'touch interrupted; exit 1' INT; touch started; while true; do sleep 0.1; done"
    (root / "Snakefile").write_text(SNAKEFILE.replace("COMMAND", job))
    repository = Path(__file__).parents[3]
    command = [sys.executable, "-m", "c2o_evidence.cli", "--root", str(root), "run", "toy", "--cores", "1"]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (root / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (root / "interrupted").exists()
    assert "`c2o run toy` resumes" in text


def test_command_line_puts_the_target_first() -> None:
    command = snakemake_command("deliverables/toy", ["-n", "-q"])
    assert command[1:4] == ["-m", "snakemake", "deliverables/toy"] and command[-2:] == ["-n", "-q"]
    assert only_tells(["-n"]) and only_tells(["--report=x.html"]) and not only_tells(["--cores", "2"])


LOG = """\
Provided cores: 2
Job stats:
job      count
-----  -------
total        5

[Mon Nov 23 18:16:45 2026]
localrule train:
    output: o/a/seed1.txt
    log: logs/a_1.log
    jobid: 2
    wildcards: e=a, s=1
[Mon Nov 23 18:16:46 2026]
Job 3: make the tables
Reason: Missing output files
Finished jobid: 3 (Rule: other)
1 of 5 steps (20%) done
Error in rule train:
    message: train a, seed 1
    jobid: 2
    output: o/b/seed1.txt
    log: logs/b_1.log (check log file(s) for error details)
    shell:
        echo hi
        (command exited with non-zero exit code)
Exiting because a job execution failed.
"""


def test_log_of_snakemake_is_understood() -> None:
    log = SnakemakeLog()
    states = []
    for line in LOG.splitlines():
        log.feed(line)
        states.append([str(block) for block in log.running.values()])
    assert ["train (e=a, s=1)", "make the tables"] in states
    assert (log.cores, log.done, log.total) == (2, 1, 5)
    assert log.running == {}
    (failed,) = log.failed
    assert (failed.rule, failed.logs, failed.wildcards) == ("train", ["logs/b_1.log"], "e=a, s=1")
    assert str(failed) == "train (train a, seed 1)"


def progress(root: Path, experiment: str, seed: int, **values: object) -> None:
    path = root / "results/.state/toy" / experiment / f"seed{seed}" / "progress.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"iteration": 5, "total": 20, "loss": 1.5, "seconds_per_iteration": 2.0, "eta_s": 30.0}
    path.write_text(json.dumps(document | {"pid": os.getpid()} | values))


def test_progress_files(tmp_path: Path) -> None:
    progress(tmp_path, "student", 0)
    progress(tmp_path, "student", 1, pid=2**22 + 1, loss=None)
    broken = tmp_path / "results/.state/toy/student/seed2/progress.json"
    broken.parent.mkdir()
    broken.write_text('{"iterat')
    first, second = read_progress(tmp_path / "results/.state/toy")
    assert first == TrainingProgress("student", 0, 5, 20, 1.5, 2.0, 30.0, True)
    assert first.fraction == 0.25
    assert not second.alive and second.loss is None


def test_a_training_on_another_machine_is_judged_by_the_age_of_its_file(tmp_path: Path) -> None:
    progress(tmp_path, "student", 0, pid=2**22 + 1)
    path = tmp_path / "results/.state/toy/student/seed0/progress.json"

    def alive(age: float) -> bool:
        os.utime(path, (time.time() - age, time.time() - age))
        return read_progress(tmp_path / "results/.state/toy")[0].alive

    path.with_name("progress.host").write_text("node7\n")
    assert alive(0) and alive(100) and not alive(130)
    progress(tmp_path, "student", 0, pid=2**22 + 1, seconds_per_iteration=30.0)
    assert alive(500) and not alive(700), "an iteration may take long"
    note_host(path.parent)
    assert path.with_name("progress.host").read_text() == f"{socket.gethostname()}\n"
    assert not alive(0), "no such process here"


def test_time_left_uses_measured_speeds(tmp_path: Path) -> None:
    def job(experiment: str, seed: int, seconds: float) -> Job:
        return Job("train", experiment, seed, tmp_path / experiment / f"{seed}.json", 20, seconds)

    jobs = [job("a", 0, 100.0), job("a", 1, 100.0), job("b", 0, 10.0)]
    running = [TrainingProgress("a", 0, 5, 20, 1.0, 2.0, 30.0, True)]
    # a: 20 iterations x 2 s, a quarter of seed 0 is done: 30 + 40; b: as guessed, 10.
    assert seconds_left(jobs, running, 1) == (80.0, 90.0)
    assert seconds_left(jobs, running, 2) == (40.0, 45.0)
    record = jobs[0].record
    record.parent.mkdir()
    record.write_text('{"started": "2024-01-31T12:00:00Z", "ended": "2024-01-31T12:00:50Z"}')
    # Seed 0 took 50 s, so seed 1 will; guesses were twice too high, so b needs 5.
    assert [item.seconds for item in refined(jobs)] == [50.0, 50.0, 5.0]
    assert seconds_left(refined(jobs), [], 1) == (55.0, 105.0)


def test_jobs_of_a_suite(root: Path) -> None:
    jobs = jobs_of(load_suite("toy", root), root)
    assert [(job.stage, job.experiment, job.seed) for job in jobs[:3]] == [
        ("train", "backbone", 0),
        ("train", "baseline", 0),
        ("train", "baseline", 1),
    ]
    assert all(job.done and job.seconds > 0 for job in jobs)
    assert {job.stage for job in jobs} == {"train", "eval", "timing", "attention", "gallery"}
    assert jobs[0].iterations == 100


def test_a_view_that_breaks_is_told_of_once_and_stops_nothing(tmp_path: Path) -> None:
    class Broken:
        def update(self, state: BuildState) -> None:
            raise OSError(5, "Input/output error")

        def close(self) -> None: ...

    out = io.StringIO()
    assert Build("toy", [], tmp_path, out)._draw(Broken(), interrupted=False) is False
    assert out.getvalue() == "progress is no longer shown: OSError: [Errno 5] Input/output error\n"
    out.close()
    assert Build("toy", [], tmp_path, out)._draw(Broken(), interrupted=False) is False, "nobody can be told"


def test_plain_view_is_sparing() -> None:
    lines: list[str] = []
    view = PlainView(lines.append, interval_s=3600)
    running = [JobLine("train student, seed 1", TrainingProgress("student", 1, 5, 20, 1.25, 2.0, 30.0, True))]
    for done in range(3):
        view.update(BuildState("planning", 0.25, 90.0, 10.0, done, 5, running=running))
    (line,) = lines
    assert line[10:] == (" 25 % | step 0/5 | about 1m30s left | student seed 1: 5/20, loss 1.250, 2.00 s/it, 30s left")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (400, "6m40s"), (7500, "2h05m")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
