"""Several processes on one training and on one evaluation of the workflow, by the real scripts."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

TINY = "configs/suites/tiny.yaml"
EVAL, TRAIN = "results/tiny/eval/baseline/seed0", "results/tiny/train/baseline/seed0"
STATE = "results/.state/tiny/baseline/seed0"


@pytest.fixture(scope="module")
def checkout(clean, tmp_path_factory):
    """A copy of a clean build that trains nothing by taking it from elsewhere."""
    return clean.copy(tmp_path_factory.mktemp("processes") / "checkout", "trained")


@pytest.mark.parametrize("count", [2, 3])
def test_an_evaluation_gives_the_same_bytes_in_any_number_of_processes(clean, checkout, count) -> None:
    names = ("results.tsv", "detections.safetensors")
    for name in names:
        (checkout.path / EVAL / name).unlink()
    checkout.build(f"{EVAL}/results.tsv", "--cores", "3", "--set-threads", f"evaluate={count}")
    for name in names:
        assert (checkout.path / EVAL / name).read_bytes() == (clean.path / EVAL / name).read_bytes(), name


def running(directory: Path) -> list[int]:
    """Workers whose working directory this is."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"c2o_model.worker" in words and (place / "cwd").resolve() == directory.resolve():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_a_training_that_is_killed_goes_on_with_another_number_of_processes(checkout) -> None:
    """Two processes of one part each; after the kill one core, hence one process, which takes both parts."""
    checkout.edit(TINY, "init: backbone, opts", "init: backbone, processes: 2, opts")
    arguments = (f"{TRAIN}/model.safetensors", "--cores", "2")
    first = checkout.start(*arguments)
    until = time.monotonic() + 300
    while not (checkout.path / STATE / "state-00000020.safetensors.sha256").exists():
        assert first.poll() is None and time.monotonic() < until, (checkout.path / "output.txt").read_text()
        time.sleep(0.02)
    assert json.loads((checkout.path / STATE / "progress.json").read_text())["total"] == 44
    assert len(workers := running(checkout.path)) == 2
    os.kill(first.pid, signal.SIGKILL)  # Snakemake alone: the job dies with it, and the processes with the job
    first.wait()
    while running(checkout.path):
        assert time.monotonic() < until, workers
        time.sleep(0.05)
    assert not (checkout.path / TRAIN / "record.json").exists()
    checkout.build(arguments[0], "--cores", "1")
    log = (checkout.path / "logs/tiny/train/baseline/seed0.log").read_text()
    assert log.startswith("1 process(es) of 2 micro-batch(es) share each batch\n")
    record = json.loads((checkout.path / TRAIN / "record.json").read_text())
    assert record["parameters"]["processes"] == ["2 x 1", "1 x 2"]
    assert "iteration 2 of 44" not in log and "iteration 44 of 44" in log
