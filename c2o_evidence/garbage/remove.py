"""Removes what was found, each thing under the lock of its users, and the directories that are empty then."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.garbage.find import Item
from c2o_evidence.garbage.places import lies_in_place
from c2o_evidence.swap import LEFTOVER
from c2o_evidence.verify.files import TIMESTAMP

WHOLE = ("results/.state/replay/",)  # directories that are ours with all that lies in them


@dataclass
class Removed:
    """Files and bytes removed; `held`: items that a process uses, left alone; `failed`: what could not be removed."""

    files: int = 0
    size: int = 0
    held: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def remove(root: Path, items: Iterable[Item]) -> Removed:
    """Removes items. What a running process holds is left; a file that became something else since is left too.

    Killed at any moment, the rest is found by the next call.
    """
    done = Removed()
    for item in items:
        if not lies_in_place(root, item.path):
            continue  # a link has come into its way since it was found
        with _held(root, item.lock) as free:
            if not free:
                done.held.append(item.path)
                continue
            for file in item.files:
                _unlink(root, file.name, done)
            _clear(root, item, done)
    return done


@contextmanager
def _held(root: Path, lock: str | None) -> Iterator[bool]:
    """Hold a lock file; False if another process does. One that does not exist yet has no holder and is not made."""
    if lock is None or not (root / lock).is_file():
        yield True
        return
    descriptor = os.open(root / lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _unlink(root: Path, name: str, done: Removed) -> None:
    path = root / name
    try:
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode) or not lies_in_place(root, name):
            return  # as above
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        done.failed.append(f"{name}: {error.strerror}")
        return
    done.files += 1
    done.size += info.st_size


def _clear(root: Path, item: Item, done: Removed) -> None:
    """Remove the directories of an item that are empty now, up to the known ones; links and other files stay.

    Of a directory that is wholly ours, with links that a replay may have made (the links, not what they point to).
    """
    place = root / item.path
    base = item.path.rpartition("/")[2]
    if place.is_dir() and not place.is_symlink() and (item.path.startswith(WHOLE) or LEFTOVER.fullmatch(base)):
        shutil.rmtree(place, onerror=lambda _, path, error: done.failed.append(f"{path}: {error[1]}"))
    folders = {str(Path(file.name).parent) for file in item.files} | {item.path, str(Path(item.path).parent)}
    for folder in sorted(folders, key=lambda name: -name.count("/")):
        while "/" in folder:
            path = root / folder
            if path.is_symlink():
                break
            with suppress(OSError):
                _remove_lone_stamp(path)
            try:
                path.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                break
            folder = folder.rpartition("/")[0]


def _remove_lone_stamp(path: Path) -> None:
    """Snakemake's empty time stamp goes with the last file beside it."""
    if [entry.name for entry in path.iterdir()] == [TIMESTAMP]:
        (path / TIMESTAMP).unlink()
