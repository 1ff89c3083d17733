"""What happens to the jobs that a killed driver has left: by a hand-made queue."""

from pathlib import Path

import pytest

from c2o_evidence.cluster import orphans
from c2o_evidence.cluster import queue as queue_module
from c2o_evidence.cluster.orphans import MARKER, clear_orphans, refuse_orphans
from c2o_evidence.cluster.queue import QueuedJob
from c2o_evidence.errors import ClusterError


def job(number: str, state: str) -> QueuedJob:
    return QueuedJob(number, state, "ann", "name", "", "/", "")


class Queue:
    """Jobs that leave the queue after some looks, cancelled ones at the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *jobs: QueuedJob) -> None:
        self.jobs = list(jobs)
        self.cancelled: list[str] = []
        self.looks = 0
        self.stuck = False
        monkeypatch.setattr(orphans, "jobs_here", self.look)
        monkeypatch.setattr(queue_module, "jobs_here", self.look)
        monkeypatch.setattr(orphans, "cancel", self.cancel)
        monkeypatch.setattr(queue_module.time, "sleep", lambda seconds: None)

    def look(self, root: Path) -> list[QueuedJob]:
        self.looks += 1
        if self.looks > 3 and not self.stuck:
            self.jobs = []
        return list(self.jobs)

    def cancel(self, jobs: list[QueuedJob]) -> None:
        self.cancelled += [job.number for job in jobs]
        if not self.stuck:
            self.jobs = [job for job in self.jobs if job.number not in self.cancelled]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".snakemake").mkdir()
    return tmp_path


def test_all_are_cancelled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "RUNNING"), job("2", "PENDING"))
    said: list[str] = []
    assert clear_orphans(root, False, said.append) == 2
    assert queue.cancelled == ["1", "2"] and queue.looks < 3
    assert said == ["cancelling 2 SLURM jobs (1, 2) of an earlier run"]
    said.clear()
    assert clear_orphans(root, False, said.append) == 0 and said == []


def test_those_that_run_are_waited_for_and_the_others_cancelled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "RUNNING"), job("2", "PENDING"))
    said: list[str] = []
    assert clear_orphans(root, True, said.append) == 2
    assert queue.cancelled == ["2"] and queue.jobs == []
    assert said[0] == "cancelling 1 SLURM job (2) of an earlier run"
    assert said[1].startswith("waiting for 1 SLURM job (1) of an earlier run; ")


def test_a_job_that_does_not_end_stops_the_new_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "COMPLETING"))
    queue.stuck = True
    monkeypatch.setattr(orphans, "CANCEL_S", 0.0)
    with pytest.raises(
        ClusterError, match=r"^1 SLURM job \(1\) of ann cannot be ended; look with `scontrol show job 1`"
    ):
        clear_orphans(root, False, lambda text: None)


def test_a_job_that_goes_back_into_the_queue_is_cancelled_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "RUNNING"))

    def requeue(jobs: list[QueuedJob]) -> None:
        queue.cancelled += [job.number for job in jobs]
        queue.jobs = [job("1", "PENDING")] if queue.cancelled == ["1"] else []

    monkeypatch.setattr(orphans, "cancel", requeue)
    assert clear_orphans(root, False, lambda text: None) == 1
    assert queue.cancelled == ["1", "1"] and queue.jobs == []


def test_jobs_of_another_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "RUNNING"))
    queue.stuck = True
    refusal = ClusterError("scancel: error: Kill job error on job id 1: Access/permission denied")

    def refuse(jobs: list[QueuedJob]) -> None:
        raise refusal

    monkeypatch.setattr(orphans, "cancel", refuse)
    monkeypatch.setattr(orphans, "REFUSED_S", 0.0)
    with pytest.raises(ClusterError, match=r"Access/permission denied; 1 SLURM job \(1\) of ann cannot be ended"):
        clear_orphans(root, False, lambda text: None)
    queue.stuck = False
    queue.looks = 3
    assert clear_orphans(root, False, lambda text: None) == 0, "one that ended meanwhile is no fault"


def test_a_plain_snakemake_asks_where_jobs_have_been_submitted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(monkeypatch, job("1", "RUNNING"))
    refuse_orphans(root, on_slurm=False)
    assert queue.looks == 0 and not (root / MARKER).exists(), "a checkout that never saw a cluster"
    refuse_orphans(root, on_slurm=True)
    assert queue.looks == 0 and (root / MARKER).exists(), "the first run on it"
    for on_slurm in (True, False):
        with pytest.raises(ClusterError, match=r"1 SLURM job \(1\) of an earlier run .* cancel them: scancel 1$"):
            refuse_orphans(root, on_slurm)
    queue.jobs = []
    refuse_orphans(root, on_slurm=True)
    assert (root / MARKER).exists()
    refuse_orphans(root, on_slurm=False)
    assert not (root / MARKER).exists(), "no job was there, and none will be"


def test_a_plain_snakemake_stops_where_slurm_cannot_say(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(root: Path) -> list[QueuedJob]:
        raise ClusterError("squeue: is not on PATH")

    monkeypatch.setattr(orphans, "jobs_here", away)
    (root / MARKER).touch()
    with pytest.raises(ClusterError, match=r"(?s)squeue: is not on PATH\n.*delete .*c2o\.slurm once there are none"):
        refuse_orphans(root, on_slurm=False)
