"""SLURM's queue as text, which jobs are those of a checkout, and what is said of them."""

import hashlib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.cluster import queue
from c2o_evidence.cluster.naming import job_prefix, writes_in
from c2o_evidence.cluster.queue import FORMAT, QueuedJob, ask, parse_queue, summary
from c2o_evidence.errors import ClusterError

UUID = "1f0e8a52-5c1b-4f43-9c1f-0a6a3d1c9b77"


def job(number: str = "7", state: str = "RUNNING", **values: str) -> QueuedJob:
    other = {"user": "me", "name": "x", "reason": "None", "directory": "/elsewhere", "comment": ""}
    return QueuedJob(number=number, state=state, **{**other, **values})


texts = st.text(st.characters(exclude_characters="\x1f\n", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.integers(1, 10**9).map(str), *[texts] * 6)))
def test_every_field_comes_back_whatever_is_in_it(rows: list[tuple[str, ...]]) -> None:
    printed = "".join("\x1f".join(row) + "\n" for row in rows)
    assert parse_queue(printed) == [QueuedJob(*row) for row in rows]


def test_squeue_is_asked_for_as_many_fields_as_are_read() -> None:
    assert FORMAT.count("\x1f") + 1 == len(fields(QueuedJob))
    assert parse_queue("slurm_load_jobs error: Unable to contact slurm controller\n") == []


def test_jobs_of_a_checkout(tmp_path: Path) -> None:
    digest = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    prefix = job_prefix(tmp_path, "step1_5seed")
    assert prefix == f"c2o-step1_5seed-{digest}"
    assert writes_in(job(name=f"{prefix}_{UUID}"), tmp_path)
    assert writes_in(job(name=f"{job_prefix(tmp_path, 'another')}_{UUID}"), tmp_path), "of any suite"
    assert not writes_in(job(name=f"{job_prefix(tmp_path / 'copy', 'step1_5seed')}_{UUID}"), tmp_path)
    long = job_prefix(tmp_path, "x" * 80)
    assert len(long) == 50 and writes_in(job(name=f"{long}_{UUID}"), tmp_path), "the plugin's limit"


@pytest.mark.parametrize("name", [UUID, f"c2o_{UUID}", f"my-prefix_{UUID}"])
def test_jobs_of_a_plain_snakemake_are_known_by_where_they_came_from(tmp_path: Path, name: str) -> None:
    here = {"directory": str(tmp_path), "comment": "rule_train_wildcards_x"}
    assert writes_in(job(name=name, **here), tmp_path)
    assert writes_in(job(name=name, directory=str(tmp_path), comment="group_x"), tmp_path)
    assert not writes_in(job(name=name, **{**here, "directory": f"{tmp_path}/below"}), tmp_path)
    assert not writes_in(job(name=name, directory=str(tmp_path), comment="mine"), tmp_path)
    assert not writes_in(job(name="my-notebook", **here), tmp_path)


def test_a_line_about_the_queue() -> None:
    assert summary([]) == ""
    assert summary([job(), job(state="COMPLETING")]) == "SLURM: 2 running"
    waiting = [job(state="PENDING", reason=reason) for reason in ("Priority", "Resources", "Priority", "None")]
    assert summary([job(), *waiting]) == "SLURM: 1 running, 4 waiting (Priority, Resources)"
    assert summary(waiting[3:]) == "SLURM: 1 waiting"


def test_commands_that_fail_say_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("sh", "-c", "echo said") == "said\n"
    with pytest.raises(ClusterError, match="no-such-command: is not on PATH; work on a submit host"):
        ask("no-such-command")
    with pytest.raises(ClusterError, match="^sh: the reason; look with `scontrol ping`$"):
        ask("sh", "-c", "echo ignored >&2; echo the reason >&2; exit 1")
    monkeypatch.setattr(queue, "TIMEOUT_S", 0.1)
    with pytest.raises(ClusterError, match=r"sleep: SLURM has not answered within 0\.1 s"):
        ask("sleep", "20")
