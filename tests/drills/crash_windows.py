"""Ends an operation at every change of the file system that it makes, one after the other, and looks what is there.

`python crash_windows.py SEED DIRECTORY [OPERATION …]` prints one JSON object a line, one for each operation of
crash_operations.py.
An operation runs in forked children: the k-th child is killed (SIGKILL) just before its k-th change, k = 1, 2, …,
until one comes to its end undisturbed; a write is also cut in the middle. The same once more with I/O errors and with a
disk that is full from the k-th change on, in place of the kill.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2o_evidence import swap
from c2o_evidence.errors import EvidenceError

TAKES_SPACE = {"create", "write", "cut", "mkdir", "fsync"}
CALLS = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "fsync", "ftruncate", "pwrite", "chmod", "fchmod")
DONE, REFUSED, BROKEN = 0, 1, 2  # how a child ends that is not killed


@dataclass(frozen=True)
class Operation:
    """What is drilled. `run` and `view` get a directory; `view` says what a reader finds there: `old`, `new`, else.

    `allowed`: other views that are right; `durable`: files are on the disk before they take their place.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], object]
    view: Callable[[Path], str]
    allowed: frozenset[str] = frozenset({"old", "new"})
    durable: bool = True


@dataclass
class Trap:
    """Counts the changes of this process; `act` is called before change number `at` (and those behind it)."""

    at: int
    act: Callable[[str, bool], None]
    trace: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def step(self, what: str, path: object) -> None:
        with self.lock:
            self.trace.append((what, _path(path)))
            if len(self.trace) >= self.at:
                self.act(what, len(self.trace) == self.at)

    def write(self, real: Callable[[Any], int], descriptor: int, data: Any) -> int:
        self.step("write", descriptor)
        if self.at == len(self.trace) + 1:
            real(memoryview(data).cast("B")[: len(data) // 2])
        self.step("cut", descriptor)
        return real(data)

    def install(self) -> None:
        """From here on every change that Python code makes passes through `step`."""
        for name in CALLS:
            setattr(os, name, self._before(name, getattr(os, name)))
        real_open, real_sendfile, real_exchange = os.open, os.sendfile, swap._exchange

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & (os.O_CREAT | os.O_TRUNC):
                self.step("create", path)
            return real_open(path, flags, *args, **kwargs)

        def sendfile(target: int, source: int, offset: int, count: int) -> int:
            self.step("write", target)
            if self.at == len(self.trace) + 1:
                real_sendfile(target, source, offset, min(count, os.fstat(source).st_size) // 2)
            self.step("cut", target)
            return real_sendfile(target, source, offset, count)

        def exchange(first: Path, second: Path) -> bool:
            self.step("exchange", first)
            return real_exchange(first, second)

        os.open, os.sendfile, swap._exchange = opened, sendfile, exchange  # type: ignore[assignment]
        builtins.open = io.open = self._file_opener()  # type: ignore[assignment]

    def _before(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            self.step(name, path)
            return real(path, *args, **kwargs)

        return call

    def _file_opener(self) -> Callable[..., Any]:
        trap, real_open = self, io.open

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                return trap.write(super().write, self.fileno(), data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
                   newline: Any = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
            if not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if not isinstance(file, int):
                trap.step("create", file)
            raw = File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding or "utf-8", errors, newline)

        return opened


def _path(path: object) -> str:
    return os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fspath(path))  # type: ignore[call-overload]


def kill(what: str, first: bool) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def io_error(what: str, first: bool) -> None:
    if first:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def full(what: str, first: bool) -> None:
    if what in TAKES_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def child(operation: Operation, place: Path, trap: Trap) -> tuple[int, str, list[tuple[str, str]]]:
    """Run in a process of its own: its status (-9 when killed), its error, and its changes if it was not killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status, message = DONE, ""
        sys.stderr = io.StringIO()
        try:
            trap.install()
            operation.run(place)
        except EvidenceError as error:
            status, message = REFUSED, str(error)
        except BaseException:
            status, message = BROKEN, traceback.format_exc()
        trap.at = sys.maxsize
        with os.fdopen(writing, "wb", buffering=0) as stream:
            stream.write(json.dumps([message, trap.trace]).encode())
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    message, trace = json.loads(data) if data else ("", [])
    return code, message, [tuple(step) for step in trace]


def tree(place: Path) -> dict[str, bytes]:
    """Everything below a directory but the cache of digests, which holds times; of lock files that they are there."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if name.startswith("results/.state"):
            continue
        found[name] = path.read_bytes() if path.is_file() and not name.endswith(".lock") else b""
    return found


def unsynced(trace: list[tuple[str, str]]) -> list[str]:
    """What a loss of power could lose: files that took their place unsynced, places whose directory was not synced."""
    dirty: set[str] = set()
    moved: set[str] = set()
    faults = []
    for what, path in trace:
        if what in ("write", "cut", "create") and not path.endswith(".lock"):
            dirty.add(path)
        elif what == "fsync":
            dirty.discard(path)
            moved.discard(path)
        elif what in ("replace", "rename", "exchange"):
            faults += [f"{name} took its place unsynced" for name in dirty if f"{name}/".startswith(f"{path}/")]
            moved.add(os.path.dirname(path))
        elif what in ("unlink", "remove"):
            dirty.discard(path)
    return faults + [f"{name} was not synced after a rename" for name in moved]


class Drill:
    """All windows of one operation."""

    def __init__(self, operation: Operation, root: Path, chance: random.Random) -> None:
        self.operation = operation
        self.root = root
        self.chance = chance
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.place = root / "place"
        operation.prepare(self.place)
        self.start = tree(self.place)
        self._keep()
        code, message, self.trace = child(operation, self.place, Trap(sys.maxsize, kill))
        self.wanted = tree(self.place)
        if code != DONE or self._view() != "new":
            self.faults.append(f"undisturbed: {code} {message} {self._view()}")
        if operation.durable:
            self.faults += [f"undisturbed: {fault}" for fault in unsynced(self.trace)]

    def _keep(self) -> None:
        shutil.copytree(self.place, self.root / "start", copy_function=shutil.copy2)

    def _reset(self) -> None:
        shutil.rmtree(self.place)
        shutil.copytree(self.root / "start", self.place, copy_function=shutil.copy2)

    def _view(self) -> str:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return self.operation.view(self.place)
        except Exception as error:
            return f"unreadable: {error!r}"

    def _look(self, where: str) -> str:
        view = self._view()
        if view not in self.operation.allowed:
            self.faults.append(f"{where}: a reader finds {view}")
        return view

    def _again(self, where: str) -> None:
        """The operation once more, undisturbed: same bytes, nothing left over."""
        try:
            self.operation.run(self.place)
        except Exception as error:
            self.faults.append(f"{where}: done again: {error!r}")
        found = tree(self.place)
        if found != self.wanted:
            names = sorted(name for name in found.keys() | self.wanted if found.get(name) != self.wanted.get(name))
            self.faults.append(f"{where}: done again, differs: {names}")

    def kills(self) -> None:
        """Killed in every window, and once more at a random moment of the repetition."""
        for at in range(1, len(self.trace) + 1):
            where = f"killed before change {at}: {' '.join(self.trace[at - 1])}"
            self._reset()
            code, message, _ = child(self.operation, self.place, Trap(at, kill))
            if code != -signal.SIGKILL:
                self.faults.append(f"{where}: ended with {code} {message}")
            self.counts["kills"] += 1
            self._look(where)
            second = self.chance.randint(1, len(self.trace))
            code, _, _ = child(self.operation, self.place, Trap(second, kill))
            self.counts["kills"] += code == -signal.SIGKILL
            self._look(f"{where}, then before change {second}")
            self._again(f"{where}, then before change {second}")

    def errors(self, act: Callable[[str, bool], None], reason: str) -> None:
        """An error in every window: it is said, nothing is lost, and the operation can be done again."""
        for at in range(1, len(self.trace) + 1):
            if act is full and self.trace[at - 1][0] not in TAKES_SPACE:
                continue  # the same as one change later
            where = f"{reason} from change {at}: {' '.join(self.trace[at - 1])}"
            self._reset()
            code, message, _ = child(self.operation, self.place, Trap(at, act))
            self.counts[act.__name__] += 1
            view = self._look(where)
            if code == BROKEN or (code == REFUSED and reason not in message):
                self.faults.append(f"{where}: not said what is wrong: {message}")
            if code == DONE and view != "new":
                self.faults.append(f"{where}: passed over, and a reader finds {view}")
            if "unchanged" in message and view == "new":
                self.faults.append(f"{where}: says unchanged, and a reader finds {view}: {message}")
            self._again(where)


def drill(operation: Operation, root: Path, seed: int) -> dict[str, Any]:
    """What was counted and what was wrong."""
    root.mkdir(parents=True)
    work = Drill(operation, root, random.Random(f"{seed} {operation.name}"))
    work.kills()
    work.errors(io_error, os.strerror(errno.EIO))
    work.errors(full, os.strerror(errno.ENOSPC))
    steps = Counter(what for what, _ in work.trace)
    return {
        "operation": operation.name,
        "windows": len(work.trace),
        "steps": steps,
        "counts": work.counts,
        "faults": work.faults,
    }


def main() -> None:
    from crash_operations import OPERATIONS

    seed, root, only = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    for operation in OPERATIONS:
        if only and operation.name not in only:
            continue
        print(json.dumps(drill(operation, root / operation.name.replace(" ", "_"), seed)), flush=True)
        shutil.rmtree(root / operation.name.replace(" ", "_"))


if __name__ == "__main__":
    main()
