"""Processes on one job are started, watched and ended together, and what one of them meets comes back as one message.

The processes here are stand-ins without torch; the real ones are in tests/workflow/test_processes.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_values
from hypothesis import strategies as st

from c2o_model import group
from c2o_model.group import Given, GroupError, given, run_group
from c2o_model.keys import ConfigError
from c2o_model.worker import MENDABLE

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
from c2o_model.group import RESULT, TASK, write_note
from c2o_model.keys import ConfigError
from c2o_model.lifeline import end_with_parent
end_with_parent("the test", int(sys.argv[4]))
directory, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
what = json.loads((directory / TASK).read_text())["values"]
(directory / f"up{rank}").touch()
while len(list(directory.glob("up*"))) < size: time.sleep(0.01)
def fail(error, text, to_mend):
    write_note(directory, rank, error, text, to_mend)
    os._exit(1)
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has workers run a few lines of Python that know directory, rank, size and what they were given."""

    def use(code: str) -> None:
        def commands(directory: Path, size: Given) -> list[list[str]]:
            numbers = [(str(rank), str(size.here), str(os.getpid())) for rank in range(size.here)]
            return [[sys.executable, "-c", STAND_IN + code, str(directory), *words] for words in numbers]

        monkeypatch.setattr(group, "_commands", commands)

    return use


def run(size: int = 3, **values: Any) -> tuple[dict[str, Any], list[str]]:
    with run_group("work", values, "cpu", Given(size)) as (directory, result):
        return result, sorted(path.name for path in directory.iterdir())


def test_all_work_and_the_first_leaves_the_result(stand_in: Any) -> None:
    stand_in('if rank == 0: (directory / RESULT).write_text(json.dumps(what | {"size": size}))')
    assert run(a=[1.5, None]) == (
        {"a": [1.5, None], "size": 3},
        ["result.json", "task.json", "up0", "up1", "up2"],
    )


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        # one meets something, and the others, cut off from it, fail behind it: only the first counts
        (
            "time.sleep(0.2 * (rank != 1))\nfail(*((KeyError(), 'Traceback: the reason', False) if rank == 1 else"
            " (OSError(), 'Connection closed by peer', False)))",
            "process 1 of the group failed:\nTraceback: the reason",
            "KeyError",
        ),
        # what the user can mend goes first, whenever it was said
        (
            "time.sleep(0.1 * (rank == 2))\nfail(*((ConfigError(), 'a.b: mend it', True) if rank == 2 else"
            " (OSError(), 'Connection closed by peer', False)))",
            "a.b: mend it",
            "ConfigError",
        ),
        # one is killed; the others say that they are cut off
        (
            "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\nfail(OSError(), 'Connection closed by peer', False)",
            "process 1 of 3 was killed (SIGKILL); if by the kernel, the job needs more memory",
            "",
        ),
        ("if rank == 1: os.abort()\ntime.sleep(3600)", "process 1 of 3 was killed (SIGABRT)", ""),
        ("sys.exit(4 * (rank == 2))", "process 2 of 3 ended with status 4 and left no reason; see above", ""),
    ],
)  # fmt: skip
def test_what_one_meets_is_the_one_message(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch, code: str, message: str, kind: str
) -> None:
    monkeypatch.setattr(group, "GRACE", 2.0)
    stand_in(code)
    with pytest.raises(GroupError) as caught:
        run()
    assert str(caught.value) == message and caught.value.kind == kind


def test_asked_to_stop_all_are_told(stand_in: Any, tmp_path: Path) -> None:
    """As a training does it: each saves what it has and says so."""
    stand_in("""
from c2o_model.group import STOP, STOPPED
asked = []
signal.signal(STOP, lambda *_: asked.append(1))
Path(what["place"], f"ready{rank}").touch()
while not asked: time.sleep(0.01)
fail(type(STOPPED, (Exception,), {})(), f"stopped after {rank + 7}", True)
""")

    def stop() -> bool:
        return len(list(tmp_path.iterdir())) == 2

    values = {"place": str(tmp_path)}
    stopped = pytest.raises(GroupError, match="^stopped after 7$")
    with stopped as caught, run_group("work", values, "cpu", Given(2), stop=stop):
        raise AssertionError("it did not stop")
    assert caught.value.kind == group.STOPPED


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")
def test_the_processes_end_with_the_one_that_watches(tmp_path: Path) -> None:
    code = STAND_IN + f"\nPath({str(tmp_path)!r}, str(rank)).write_text(str(os.getpid()))\ntime.sleep(300)"
    (tmp_path / "watch.py").write_text(f"""
import os, sys
from c2o_model import group
group._commands = lambda d, s: [[sys.executable, "-c", {code!r}, str(d), str(r), "2", str(os.getpid())] for r in (0, 1)]
with group.run_group("work", {{}}, "cpu", group.Given(2)): pass
""")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    watching = subprocess.Popen([sys.executable, str(tmp_path / "watch.py")], env=environment)
    until = time.monotonic() + 60
    while sum(bool((tmp_path / r).is_file() and (tmp_path / r).read_text()) for r in "01") < 2:
        assert time.monotonic() < until and watching.poll() is None
        time.sleep(0.02)
    workers = [int((tmp_path / r).read_text()) for r in "01"]
    watching.send_signal(signal.SIGKILL)
    watching.wait()
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < until, "they live on"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_process_whose_parent_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-m", "c2o_model.worker", str(tmp_path), "0", "2", str(gone.pid)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "the job ended before this process began\n")


def test_a_process_that_finds_no_place_says_why(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"work": "train", "device": "cpu", "values": {}}')
    step = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "no.such.node.invalid"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **step, "PATH": str(tmp_path)}
    environment.pop("MASTER_ADDR", None)
    done = subprocess.run([sys.executable, "-m", "c2o_model.worker", str(tmp_path)], env=environment)
    assert done.returncode == MENDABLE
    note = json.loads((tmp_path / "note-000003.json").read_text())
    assert note["text"].startswith("SLURM_STEP_NODELIST: no.such.node.invalid has no address here; export MASTER_ADDR")
    assert (note["kind"], note["to_mend"]) == ("ConfigError", True)


def test_what_a_descriptor_locks_stays_locked_while_a_process_lives(stand_in: Any, tmp_path: Path) -> None:
    """They end after the one that watches, and a device must not be another's before."""
    stand_in("""
if rank == 0: (directory / RESULT).write_text(json.dumps([os.fstat(what["lock"]).st_ino]))
""")
    with (tmp_path / "lock").open("w") as lock:
        kept = lock.fileno()
        with run_group("work", {"lock": kept}, "cpu", Given(2), keep=[kept]) as (_, result):
            assert result == [os.fstat(kept).st_ino]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_on_several_machines_are_a_step_of_the_job() -> None:
    (command,) = group._commands(Path("/shared/group.x"), Given(4, 2))
    assert command == [
        *("srun", "--overlap", "--mem=0", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=1"),
        *("--kill-on-bad-exit=1", "--export=ALL", sys.executable, "-m", "c2o_model.worker", "/shared/group.x"),
    ]


@given_values(st.integers(1, 64), st.integers(1, 16), st.integers(1, 4))
def test_parts_are_shared_evenly_or_not_at_all(parts: int, here: int, machines: int) -> None:
    size = Given(here, machines)
    whole = [Given(h, machines) for h in range(1, here + 1) if parts == h * machines]
    try:
        shared = size.sharing(parts)
    except ConfigError as error:
        assert not whole and parts % size.processes
        assert str(error).startswith(
            f"processes: {parts} parts of a batch cannot be shared evenly by the {here * machines}"
        )
        return
    # One process a part where there is room for that, else all processes, each with as many parts.
    assert shared == (whole[0] if whole else size) and parts % shared.processes == 0


def test_the_message_names_what_would_do() -> None:
    with pytest.raises(
        ConfigError, match=r"evenly by the 6 processes that this job was given .*; give it 1, 2, 4 or 8$"
    ):
        Given(3, 2).sharing(8)


def test_what_a_job_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU a process: threads are there for them, and do not make more."""
    import torch

    assert given("cpu", 4) == Given(4, 1)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match="^nodes: 2, but this job is on one machine; several need SLURM"):
        given("cpu", 4, 2)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert given("cpu", 4, 2) == Given(4, 2)
    for seen, threads, processes in ((2, 4, 2), (8, 4, 4), (0, 4, 1)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda seen=seen: seen)
        assert given("cuda", threads) == Given(processes)
