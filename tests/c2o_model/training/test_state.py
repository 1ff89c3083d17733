"""The lock of a training directory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from c2o_model.training.state import training_lock

HOLDER = """
import sys, time
from pathlib import Path
from c2o_model.training.state import training_lock
with training_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_second_trainer_waits_says_for_whom_and_goes_on_when_the_first_dies(tmp_path: Path) -> None:
    first = start(tmp_path / "state")
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    second = start(tmp_path / "state")
    assert second.stderr is not None and second.stdout is not None and second.stdin is not None
    said = second.stderr.readline()
    assert said == f"{tmp_path / 'state'}: process {first.pid} is training here; waiting for it\n"
    assert second.poll() is None
    first.kill()  # SIGKILL: the kernel frees the lock
    first.wait()
    assert second.stdout.readline() == "held\n"
    assert (tmp_path / "state" / "lock").read_text() == str(second.pid)
    second.communicate("\n")
    assert second.returncode == 0


def test_a_free_lock_is_taken_at_once_and_twice_in_a_row(tmp_path: Path) -> None:
    started = time.monotonic()
    for _ in range(2):
        with training_lock(tmp_path / "new" / "state"):
            pass
    assert time.monotonic() - started < 0.4
