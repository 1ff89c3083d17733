"""Who gets devices when: all or none, in order, with word of who holds them; what children keep, what an end frees."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import SlotError
from c2o_evidence.slots import Devices, acquire, holders
from c2o_evidence.slots.holders import Holder, parse_holder

ROOT = Path(__file__).resolve().parents[3]
FOUR = Devices(("fake-0", "fake-1", "fake-2", "fake-3"), "a test")
LATER = Devices(("fake-3", "fake-4"), "a test")

JOB = """\
import sys, time
from pathlib import Path
from c2o_evidence.slots import Devices, acquire

leases, title, count, *names = sys.argv[1:]
say = lambda text: print("says", text, flush=True)
with acquire(int(count), Devices(tuple(names), "a test"), Path(leases), title, say) as lease:
    print("has", *lease.devices, flush=True)
    sys.stdin.readline()
"""

PARENT = """\
import multiprocessing, os, sys, time
from pathlib import Path
from c2o_evidence.slots import Devices, acquire

if __name__ == "__main__":
    lease = acquire(1, Devices(("fake-0",), "a test"), Path(sys.argv[1]), "a parent")
    child = multiprocessing.get_context(sys.argv[2]).Process(target=time.sleep, args=(600,))
    child.start()
    print(child.pid, flush=True)
    time.sleep(600)
"""


class Job:
    """A process that takes devices and holds them until `end`."""

    def __init__(self, leases: Path, title: str, count: int, devices: Devices = FOUR) -> None:
        command = [sys.executable, "-c", JOB, str(leases), title, str(count), *devices.names]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> None:
        self.process.communicate("\n")


@pytest.fixture
def job(tmp_path: Path):
    started = []

    def start(title: str, count: int, devices: Devices = FOUR) -> Job:
        started.append(Job(tmp_path / "leases", title, count, devices))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_the_first_free_devices_are_taken_and_given_back(tmp_path: Path) -> None:
    with acquire(1, FOUR, tmp_path / "leases", "one") as one, acquire(2, FOUR, tmp_path / "leases", "two") as two:
        assert (one.devices, two.devices) == (("fake-0",), ("fake-1", "fake-2"))
        found = holders(tmp_path / "leases", FOUR.names)
        titles = {name: holder.title for name, holder in found.items() if holder}
        assert titles == {"fake-0": "one", "fake-1": "two", "fake-2": "two"}
        assert all(holder is not None and holder.pid == os.getpid() for holder in found.values())
        one.release()
        one.release()
        assert set(holders(tmp_path / "leases", FOUR.names)) == {"fake-1", "fake-2"}
    assert holders(tmp_path / "leases", FOUR.names) == {}
    assert holders(tmp_path / "absent", FOUR.names) == {} and not (tmp_path / "absent").exists()


def test_more_than_there_are_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        SlotError, match=r"^needs 5 GPUs, but this machine has 4 \(fake-0, .*, fake-3; listed by a test\);"
    ):
        acquire(5, FOUR, tmp_path / "leases", "a test")
    with pytest.raises(
        SlotError, match=r"^needs 1 GPU, but this machine has none \(listed by nvidia-smi\); set MODEL.DEVICE"
    ):
        acquire(1, Devices((), "nvidia-smi"), tmp_path / "leases", "a test")
    assert not (tmp_path / "leases").exists()


def test_who_needs_four_is_not_overtaken_and_each_is_told_what_it_waits_for(tmp_path: Path, job) -> None:
    with acquire(1, FOUR, tmp_path / "leases", "holds one") as mine:
        four = job("wants four", 4)
        waits = four.line()
        start = f"says waits for 4 GPUs of 4: fake-0 is held by process {os.getpid()} (holds one) since 20"
        assert waits.startswith(start) and "first" not in waits
        one = job("wants one", 1)
        waits = one.line()
        assert f"fake-0 is held by process {os.getpid()} (holds one) since" in waits
        assert f"fake-1 is held by process {four.process.pid} (wants four, waiting for 4) since" in waits
        assert waits.endswith("came first") and waits.count("came first") == 1
        elsewhere = job("has others to choose from", 1, Devices(("fake-7",), "a test"))
        assert elsewhere.line() == "has fake-7", "whoever may have other devices only does not wait"
        mine.release()
        assert four.line() == "has fake-0 fake-1 fake-2 fake-3"
        four.end()
        assert one.line() == "has fake-0"
        one.end()


@pytest.mark.parametrize("when", ["waiting", "working"])
def test_a_killed_job_leaves_nothing_behind(tmp_path: Path, job, when: str) -> None:
    with acquire(2, FOUR, tmp_path / "leases", "holds two") as mine:
        other = job("killed", 4 if when == "waiting" else 2)
        assert other.line().startswith("says" if when == "waiting" else "has")
        other.process.kill()
        other.process.wait()
        mine.release()
    said: list[str] = []
    with acquire(4, FOUR, tmp_path / "leases", "after it", said.append):
        assert said == []


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_device_is_taken_as_long_as_a_child_of_the_job_lives(tmp_path: Path, method: str) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path / "leases", method],
        stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        found = holders(tmp_path / "leases", ["fake-0"])["fake-0"]
        assert "has ended, but a process that it started goes on" in str(found)
    finally:
        os.kill(child, signal.SIGKILL)
    until = time.monotonic() + 10
    while holders(tmp_path / "leases", ["fake-0"]) and time.monotonic() < until:
        time.sleep(0.02)
    assert holders(tmp_path / "leases", ["fake-0"]) == {}


def test_an_interrupt_while_waiting_gives_back_what_was_collected(tmp_path: Path) -> None:
    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    with acquire(1, FOUR, tmp_path / "leases", "holds one"):
        with pytest.raises(KeyboardInterrupt):
            acquire(4, FOUR, tmp_path / "leases", "interrupted", interrupt)
        assert set(holders(tmp_path / "leases", FOUR.names)) == {"fake-0"}
        with acquire(3, FOUR, tmp_path / "leases", "after it") as three:
            assert three.devices == ("fake-1", "fake-2", "fake-3")


WORDS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2))


@given(st.one_of(st.binary(), st.dictionaries(st.sampled_from(["pid", "title", "since"]), WORDS).map(json.dumps)))
def test_whatever_others_write_into_a_lock_file_is_a_holder_or_nothing(content: bytes | str) -> None:
    found = parse_holder(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    if found is not None:
        assert str(found).startswith(f"process {found.pid} (") and "\n" not in str(found) and "\x1b" not in str(found)


def test_a_holder_as_it_is_written() -> None:
    assert parse_holder(b'{"pid": 7, "title": "train a\\u001b[2J", "since": 1.5}') == Holder(
        7, "train a\\u001b[2J", 1.5
    )
    assert parse_holder(b'{"pid": 7, "title": "train') is None
