"""Several processes on one training or evaluation of the workflow: started together, watched, and ended together.

The process that calls :func:`run_group` only watches. Each of the others is ``python -m c2o_model.worker``: they learn
from a JSON file what to do, find each other (a file where they share a machine, else as srun says), and the first of
them leaves what came out as a JSON file. What one of them meets comes back as one message. They end with the process
that started them, whatever ends it.

Called by ``training.shared`` and ``evaluation.shared``. No torch here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.keys import ConfigError

TASK, RESULT, NOTES = "task.json", "result.json", "note-*.json"
STOPPED = "TrainingStopped"  # the kind of a group that has stopped as asked
STOP = signal.SIGUSR1  # srun passes it on; at SIGTERM it kills what it has started
GRACE = 10.0  # seconds for the others to end by themselves after the first one has failed
LOOK = 0.05  # seconds between two looks


class GroupError(RuntimeError):
    """What one of the processes said before it ended.

    kind: the type of its error, e.g. ``ConfigError``; empty where a signal ended it.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Given:
    """What a job has to work with: processes on this machine (GPUs or CPU threads), and machines like it."""

    here: int = 1
    machines: int = 1

    @property
    def processes(self) -> int:
        """All together."""
        return self.here * self.machines

    def sharing(self, parts: int) -> Given:
        """As much of this as can work on ``parts`` equal parts of a batch: one process a part, or each several.

        Raises:
            ConfigError: the parts cannot be dealt out evenly.
        """
        if parts < self.processes and parts % self.machines == 0:
            return Given(parts // self.machines, self.machines)
        if parts % self.processes == 0:
            return self
        even = [n for n in range(1, self.processes) if parts % n == 0]
        raise ConfigError(
            f"processes: {parts} parts of a batch cannot be shared evenly by the {self.processes} processes that this "
            f"job was given (threads, GPUs); give it {', '.join(map(str, even))} or {parts}"
        )


def given(device: str, threads: int, machines: int = 1) -> Given:
    """What a job with ``threads`` threads on each machine has: with a GPU device no more than the GPUs it sees.

    Raises:
        ConfigError: several machines, but not in a SLURM job.
    """
    if machines > 1 and "SLURM_JOB_ID" not in os.environ:
        raise ConfigError(f"nodes: {machines}, but this job is on one machine; several need SLURM (profiles/slurm)")
    if device != "cpu":
        import torch

        threads = min(threads, max(torch.cuda.device_count(), 1))
    return Given(max(threads, 1), machines)


@contextmanager
def run_group(
    work: str,
    values: Mapping[str, Any],
    device: str,
    size: Given,
    *,
    scratch: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    look: Callable[[], None] = lambda: None,
    keep: Sequence[int] = (),
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Do ``work`` in a group of processes; inside the block lie the files that they have left, and the result.

    Args:
        work: a name in ``c2o_model.worker.WORKS``; values: what it needs, as JSON.
        device: MODEL.DEVICE.
        scratch: directory that all machines share, where there are several.
        stop: asked all the time; once it says yes, every process gets SIGUSR1.
        look: called all the time, and once more when all have ended well.
        keep: descriptors that the processes have too: what these lock stays locked until the last process has ended.

    Raises:
        GroupError: a process failed; the message is the first reason.
    """
    with tempfile.TemporaryDirectory(prefix="group.", dir=scratch if size.machines > 1 else None) as name:
        directory = Path(name).resolve()
        (directory / TASK).write_text(json.dumps({"work": work, "device": device, "values": values}), encoding="utf-8")
        running = [subprocess.Popen(c, env=_environment(), pass_fds=keep) for c in _commands(directory, size)]
        try:
            killed = _watch(running, stop, look)
        finally:
            for process in running:
                process.kill()
                process.wait()
        codes = [process.returncode for process in running]
        if any(codes):
            raise _reason(directory, codes, killed)
        look()
        yield directory, json.loads((directory / RESULT).read_text(encoding="utf-8"))


def write_note(directory: Path, rank: int, error: BaseException, text: str, to_mend: bool) -> None:
    """Leave what a process has met for the one that watches. ``to_mend``: ``text`` says what the user can do."""
    note = {"kind": type(error).__name__, "text": text, "to_mend": to_mend, "time": time.time(), "rank": rank}
    (directory / NOTES.replace("*", f"{rank:06d}")).write_text(json.dumps(note), encoding="utf-8")


def _commands(directory: Path, size: Given) -> list[list[str]]:
    worker = [sys.executable, "-m", "c2o_model.worker", str(directory)]
    if size.machines == 1:
        return [[*worker, str(rank), str(size.here), str(os.getpid())] for rank in range(size.here)]
    # A step of its own inside of the job's allocation, which the step that this process is in also keeps.
    step = ["srun", "--overlap", "--mem=0", f"--nodes={size.machines}", f"--ntasks={size.processes}"]
    each = [f"--ntasks-per-node={size.here}", "--cpus-per-task=1", "--kill-on-bad-exit=1", "--export=ALL"]
    return [[*step, *each, *worker]]


def _environment() -> dict[str, str]:
    """That of this process, with this very package first on the path."""
    package = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _watch(running: list[subprocess.Popen[bytes]], stop: Callable[[], bool], look: Callable[[], None]) -> set[int]:
    """Wait for all. Returns the numbers of those that had to be killed since another one had failed."""
    told, deadline = False, float("inf")
    while None in (codes := [process.poll() for process in running]):
        if not told and stop():
            told = True
            for process in running:
                process.send_signal(STOP)
        if any(codes):
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            left = {number for number, code in enumerate(codes) if code is None}
            for number in left:
                running[number].kill()
                running[number].wait()
            return left
        look()
        time.sleep(LOOK)
    return set()


def _reason(directory: Path, codes: list[int], killed: set[int]) -> GroupError:
    """Why it failed: the others fail after the first, cut off from it, so theirs is no reason."""
    notes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob(NOTES))]
    if to_mend := [note for note in notes if note["to_mend"]]:
        return GroupError(to_mend[0]["text"], to_mend[0]["kind"])
    for number, code in enumerate(codes):
        if code < 0 and number not in killed:
            name = signal.Signals(-code).name
            return GroupError(
                f"process {number} of {len(codes)} was killed ({name})"
                + ("; if by the kernel, the job needs more memory" if name == "SIGKILL" else "")
            )
    if notes:
        first = min(notes, key=lambda note: note["time"])
        return GroupError(f"process {first['rank']} of the group failed:\n{first['text']}", first["kind"])
    number, code = next((n, c) for n, c in enumerate(codes) if c and n not in killed)
    return GroupError(f"process {number} of {len(codes)} ended with status {code} and left no reason; see above")
