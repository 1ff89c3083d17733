"""Crashes, second runs, failing jobs, bad input: what a user reads, and that the next run works (stubs)."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

TINY = "configs/suites/tiny.yaml"
BASELINE = "results/tiny/train/baseline/seed1/model.safetensors"


def wait_for(path: Path, text: str, seconds: float = 60) -> str:
    """Content of a file as soon as it holds `text`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        content = path.read_text() if path.exists() else ""
        if path.exists() and text in content:
            return content
        time.sleep(0.1)
    raise AssertionError(f"{path} does not hold {text!r}:\n{content}")


def children(pid: int) -> list[int]:
    """Processes below a process, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_run_in_the_directory_is_refused_at_once_and_names_the_first(fresh) -> None:
    (fresh.path / "stub.wait").touch()
    first = fresh.start("deliverables/tiny")
    try:
        wait_for(fresh.path / "output.txt", "Job ")
        second = fresh.run("deliverables/tiny", timeout=60)
        assert second.returncode == 1
        assert f"Error: another run (process {first.pid}) is working in this directory" in second.stdout
        assert "Traceback" not in second.stdout
        assert fresh.run("deliverables/tiny", "--dry-run").returncode == 0, "planning needs no lock"
    finally:
        (fresh.path / "stub.wait").unlink()
    assert first.wait(120) == 0
    assert fresh.planned() == []


def test_a_cluster_job_of_a_run_that_another_one_has_replaced_touches_nothing(fresh) -> None:
    """It has waited in the queue while its run was killed and another one began."""
    (fresh.path / ".snakemake").mkdir()
    (fresh.path / ".snakemake/c2o.lock").write_text("4712 2 login\n")
    fresh.environment["C2O_RUN"] = "4711 1 login\n"
    job = fresh.run("data/digits_mini/manifest.json", "--mode", "remote")
    assert job.returncode == 1
    assert "Error: the run that this job belongs to has ended, and another one works here" in job.stdout
    assert not (fresh.path / "data").exists() and not (fresh.path / "logs").exists()


def test_kill_9_of_snakemake_ends_its_jobs_and_the_next_run_just_works(fresh) -> None:
    (fresh.path / "stub.wait").touch()
    first = fresh.start("deliverables/tiny")
    wait_for(fresh.path / "output.txt", "Job ")
    until = time.monotonic() + 30
    while not (jobs := children(first.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(2)  # the job asks to die with its parent once Python is up
    os.kill(first.pid, signal.SIGKILL)  # Snakemake alone, not its process group
    first.wait()
    until = time.monotonic() + 10
    while any(alive(job) for job in jobs) and time.monotonic() < until:
        time.sleep(0.1)
    assert jobs and not any(alive(job) for job in jobs)
    (fresh.path / "stub.wait").unlink()
    fresh.build()
    assert fresh.planned() == []


def test_the_old_deliverable_outlives_a_killed_and_a_failed_freeze(built) -> None:
    """Snakemake deletes the outputs of a job before it starts and when it fails: not the deliverable."""
    before = built.files("deliverables")
    built.edit(TINY, "method: Student", "method: The student")
    built.build("results/tiny/verify.json")
    (built.path / "logs/tiny/freeze.log").unlink()
    (built.path / "stub.wait").touch()
    process = built.start("deliverables/tiny")
    wait_for(built.path / "logs/tiny/freeze.log", "")  # all that Snakemake deletes is deleted by now
    built.kill(process)
    assert built.files("deliverables") == before
    (built.path / "stub.wait").unlink()
    (built.path / "stub.fail").write_text("freeze tiny")
    done = built.run("deliverables/tiny")
    assert done.returncode == 1 and "Error: freeze tiny: fails as asked" in done.stdout
    assert built.files("deliverables") == before
    (built.path / "stub.fail").unlink()
    built.build()
    assert built.files("deliverables") != before
    assert built.planned() == [] and not (built.path / "results/tiny/frozen").exists()


def test_a_note_of_a_freeze_that_has_outlived_the_deliverable_is_named(built) -> None:
    (built.path / "results/tiny/frozen").touch()
    shutil.rmtree(built.path / "deliverables/tiny")
    done = built.run("deliverables/tiny")
    assert done.returncode == 1
    assert "Error: results/tiny/frozen: a run was killed, and what it froze is gone; delete this file" in done.stdout


def test_one_failed_seed_does_not_stop_the_others_and_says_why(fresh) -> None:
    (fresh.path / "stub.fail").write_text("train tiny warmstart 1")
    done = fresh.run("deliverables/tiny")
    assert done.returncode == 1
    assert "Error: train tiny warmstart 1: fails as asked" in done.stdout, "the log of a failed job is shown"
    ran = (fresh.path / "stub.ran").read_text().split("\n")
    assert "evaluate tiny student 0" in ran and "timing tiny" in ran and "distill tiny student 1" not in ran
    (fresh.path / "stub.fail").unlink()
    (fresh.path / "stub.ran").unlink()
    fresh.build()
    ran = (fresh.path / "stub.ran").read_text().split("\n")
    assert "train tiny warmstart 1" in ran and "train tiny warmstart 0" not in ran


@pytest.mark.parametrize("damage", ["bit", "cut", "sidecar"])
def test_a_damaged_checkpoint_is_refused_by_the_next_job_and_nothing_is_deleted(built, damage: str) -> None:
    """The damage is done between a training and the jobs that use its checkpoint."""
    built.edit(TINY, "init: baseline, opts: {SOLVER.MAX_ITER: 6}", "init: baseline, opts: {SOLVER.MAX_ITER: 9}")
    checkpoint = built.path / BASELINE
    data = bytearray(checkpoint.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
        checkpoint.write_bytes(data)
    elif damage == "cut":
        checkpoint.write_bytes(data[:-1])
    else:
        checkpoint.with_name("model.safetensors.sha256").write_text("nonsense\n")
    before = built.files("results/tiny/train/baseline")
    done = built.run("results/tiny/train/warmstart/seed1/model.safetensors")
    assert done.returncode == 1
    assert f"Error: {BASELINE}" in done.stdout and "Traceback" not in done.stdout
    assert ("sha256: expected" in done.stdout) == (damage != "sidecar")
    assert built.files("results/tiny/train/baseline") == before


def test_an_edit_during_the_run_is_not_trained_under_the_old_digest(fresh) -> None:
    (fresh.path / "stub.wait").touch()
    first = fresh.start("deliverables/tiny")
    wait_for(fresh.path / "output.txt", "Job ")
    fresh.edit(TINY, "init: backbone, opts: {SOLVER.MAX_ITER: 6}", "init: backbone, opts: {SOLVER.MAX_ITER: 5}")
    (fresh.path / "stub.wait").unlink()
    assert first.wait(120) == 1
    output = (fresh.path / "output.txt").read_text()
    assert "train tiny baseline 0: a configuration or source file was edited while the run was going on" in output
    fresh.build()
    assert fresh.planned() == []


BAD_SUITES = {
    "unknown key": ("title: A", "titel: A", "titel"),
    "repeated seed": ("train_seeds: [0, 1]", "train_seeds: [0, 0]", "train_seeds"),
    "negative seed": ("eval_seeds: [0, 1]", "eval_seeds: [0, -1]", "-1"),
    "missing model file": (
        "digits/baseline.yaml",
        "digits/basline.yaml",
        "configs/models/digits/basline.yaml does not exist",
    ),
    "unknown experiment": ("init: backbone", "init: backbones", "backbones"),
    "not YAML": ("name: tiny", "name: [tiny", TINY),
}


@pytest.mark.parametrize("fault", BAD_SUITES)
@pytest.mark.parametrize("state", ["fresh", "built"])
def test_a_bad_suite_ends_with_one_line_that_names_file_key_and_value(request, fault: str, state: str) -> None:
    checkout = request.getfixturevalue(state)
    old, new, named = BAD_SUITES[fault]
    checkout.edit(TINY, old, new)
    done = checkout.run("deliverables/tiny")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Error: ")]
    assert TINY in line and named in line
    assert "Traceback" not in done.stdout and "Nothing to be done" not in done.stdout


def test_a_suite_that_does_not_exist_is_named_with_those_that_do(fresh) -> None:
    done = fresh.run("deliverables/tyni")
    assert done.returncode == 1
    assert "Error: configs/suites/tyni.yaml: does not exist" in done.stdout and "tiny" in done.stdout


def test_a_broken_suite_does_not_stop_another(built) -> None:
    (built.path / "configs/suites/aaa.yaml").write_text("name: [broken\n")
    (built.path / "configs/suites/bbb.yaml").write_text("extends: tiny\nname: bbb\ntrain_seeds: [0, 0]\n")
    assert built.planned() == []
    listed = built.run()
    assert (
        listed.returncode == 0 and "deliverables/aaa" in listed.stdout and "broken: configs/suites/aaa" in listed.stdout
    )


def test_adding_a_suite_is_adding_one_file(built) -> None:
    (built.path / "configs/suites/more.yaml").write_text("extends: tiny\nname: more\ntrain_seeds: [7]\n"
        "timing: {train_seed: 7}\nexperiments: {student: {teacher: null}}\n")  # fmt: skip
    jobs = built.planned("deliverables/more")
    assert "train student, seed 7" in jobs, "an experiment of the same name may have no teacher in another suite"
    assert built.planned() == []
