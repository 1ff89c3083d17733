"""A directory takes the place of another one in one step: a reader finds the whole old one or the whole new one.

The new one is built beside its place, as `staging` names it. What killed processes leave there `recover` clears;
callers hold a lock on the place, so that nobody clears or continues what another process is building.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from pathlib import Path

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100
ASIDE = ".old"
LEFTOVER = re.compile(rf"\.(?P<name>.+)\.(?:building|(?:freeze-)?[0-9a-f]{{8}})(?:{re.escape(ASIDE)})?")
"""What is found beside `name` after a process that built or replaced it was killed."""


def staging(target: Path, mark: str = "building") -> Path:
    """A path for the new directory, beside its place and hidden. `mark`: `building`, `HEX` or
    `freeze-HEX` with eight hexadecimal digits.
    """
    return target.with_name(f".{target.name}.{mark}")


def put_in_place(staged: Path, target: Path) -> None:
    """Make `staged` the new `target`; what was there is left beside it, for `recover` to remove.

    One step on Linux. Where the file system cannot exchange names (some network file systems), the old one is out of
    its place for a moment; if we die in it, `recover` puts it back.
    """
    if not os.path.lexists(target):
        os.rename(staged, target)
    elif not _exchange(staged, target):
        old = staged.with_name(staged.name + ASIDE)
        os.rename(target, old)
        try:
            os.rename(staged, target)
        except OSError:
            os.rename(old, target)
            raise


def recover(target: Path) -> None:
    """Clear what is left beside `target`; an old directory that was moved aside goes back to its place.

    A directory that cannot be removed is left for the next time.
    """
    for name in sorted(os.listdir(target.parent), reverse=True):  # what was moved aside before what was to replace it
        left = target.parent / name
        found = LEFTOVER.fullmatch(name)
        if found is None or found["name"] != target.name:
            continue
        if name.endswith(ASIDE) and not os.path.lexists(target):
            os.rename(left, target)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Let two directories change places in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    result = renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
