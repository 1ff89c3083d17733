"""Who holds a device: what the holder wrote into the lock file. Others could write there too, so it is only shown."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from c2o_evidence.printable import printable
from c2o_evidence.progress import process_alive
from c2o_evidence.slots.directory import lock_name

MOST_BYTES = 1024
MOST_TITLE = 200
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Holder:
    """A process with a device or waiting for one: its number, what it does, since when (seconds since the epoch)."""

    pid: int
    title: str
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        ended = "" if process_alive(self.pid) else ", which has ended, but a process that it started goes on"
        return f"process {self.pid} ({self.title}) since {began}{ended}"


def write_holder(descriptor: int, title: str) -> None:
    """Say in a lock file that is locked who has locked it; no matter if that cannot be written."""
    text = json.dumps(asdict(Holder(os.getpid(), title[:MOST_TITLE], round(time.time(), 3))), ensure_ascii=False)
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("utf-8", "replace"), 0)


def parse_holder(data: bytes) -> Holder | None:
    """What a lock file says; None for anything else than a holder that could be."""
    try:
        found = json.loads(data.decode("utf-8"))
        pid, title, since = found["pid"], found["title"], found["since"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(title, str):
        return None
    if not isinstance(since, (int, float)) or not 0 <= since < 2**33:  # nan is refused too
        return None
    return Holder(pid, printable(title)[:MOST_TITLE], since)


def read_holder(descriptor: int) -> Holder | None:
    """The holder that an open lock file names."""
    return parse_holder(os.pread(descriptor, MOST_BYTES, 0))


def holders(
    directory: Path, devices: Iterable[str], file_of: Callable[[str], str] = lock_name
) -> dict[str, Holder | None]:
    """The devices that are taken, with who holds each (None: unknown). Makes and changes nothing.

    Args:
        file_of: `gate_name` to be told who is first in line for them.
    """
    found: dict[str, Holder | None] = {}
    for device in devices:
        try:
            descriptor = os.open(directory / file_of(device), _FLAGS)
        except OSError:
            continue  # nobody has ever held it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with suppress(OSError):  # no plain file: not a lease of ours
                found[device] = read_holder(descriptor)
        finally:
            os.close(descriptor)
    return found


def is_me(holder: Holder | None) -> bool:
    """Whether that is this process."""
    return holder is not None and holder.pid == os.getpid()
