"""What /proc tells of a driver: real processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from c2o_evidence.cluster.processes import is_stopped, submitting, works_here

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc")


@contextmanager
def leader(script: str) -> Iterator[int]:
    """A shell that leads a session of its own, as the Snakemake of `c2o run` does."""
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def soon(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def program(path: Path) -> Path:
    """One that sleeps under a name of its own."""
    path.write_bytes(Path("/bin/sleep").read_bytes())
    path.chmod(0o755)
    return path


def test_a_job_on_this_machine_is_told_from_commands_that_speak_with_slurm(tmp_path: Path) -> None:
    squeue, job = program(tmp_path / "squeue"), program(tmp_path / "a (job")
    with leader(f"{squeue} 60 & touch {tmp_path}/ready; wait") as pid:
        assert soon((tmp_path / "ready").exists)
        time.sleep(0.1)
        assert not works_here(pid)
    with leader(f"'{job}' 60 & wait") as pid:
        assert soon(lambda: works_here(pid))


def test_a_stopped_process() -> None:
    with leader("sleep 60 & wait") as pid:
        assert not is_stopped(pid)
        os.kill(pid, signal.SIGSTOP)
        assert soon(lambda: is_stopped(pid))


def test_a_submission_that_a_killed_driver_has_left(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_bytes(Path("/bin/bash").read_bytes())
    (tmp_path / "sbatch").chmod(0o755)
    call = f"{tmp_path}/sbatch -c 'sleep 60; true' --parsable --job-name c2o-suite-0123456789ab_1f0e &"
    with leader(f"{call} wait"):
        assert soon(lambda: submitting("0123456789ab"))
        assert submitting("ba9876543210") == []
    assert soon(lambda: not submitting("0123456789ab"))
