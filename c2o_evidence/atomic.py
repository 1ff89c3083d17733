"""Atomic writing: a reader sees the whole old file or the whole new one, also after a crash."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from c2o_evidence.errors import EvidenceError

_DEVICE_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving, its content is synced and takes the place of `path`.

    Missing parent directories are made. If the body raises, the temporary file is removed and `path` keeps
    its content. A process killed in between leaves a hidden `.NAME.*.tmp` file, which the next writer of
    `path` removes.

    Raises:
        EvidenceError: the device cannot take the data (full, read-only, I/O error).
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary, descriptor = _create(target)
    except OSError as error:
        raise _write_error(target, error) from error
    placed = False
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        placed = True
        sync(target.parent)
    except OSError as error:
        if error.errno in _DEVICE_FAULTS:
            raise _write_error(target, error, placed=placed) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()
        os.close(descriptor)


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Write `data` to `path` atomically; text is UTF-8 with the line ends it has.

    Raises:
        EvidenceError: as `atomic_path`.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _create(target: Path) -> tuple[Path, int]:
    """A new temporary file and its descriptor, whose lock tells `_sweep` that the writer lives."""
    while True:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        # Not tempfile: it makes private files, and results are for everyone the umask allows.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # swept by another writer before it was locked


def _sweep(target: Path) -> None:
    """Remove what killed writers of `target` left behind: temporary files that nobody holds locked."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.tmp")
    for name in os.listdir(target.parent):
        if ours.fullmatch(name) is None:
            continue
        with suppress(OSError):  # locked: its writer is at work; or gone by now
            descriptor = os.open(target.parent / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(target.parent / name)
            finally:
                os.close(descriptor)


def _write_error(path: Path, error: OSError, *, placed: bool = False) -> EvidenceError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if placed:
        return EvidenceError(f"{path}: is written, but may be lost if the machine stops now: {reason}; write it again")
    return EvidenceError(f"{path}: could not be written: {reason}; an earlier file of that name is unchanged")


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a directory, before anything that follows."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
