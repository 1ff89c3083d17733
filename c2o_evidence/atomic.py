"""Atomic writing: a reader sees the whole old file or the whole new one, also after a crash."""

import errno
import os
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
    its content. A process killed in between leaves at most a hidden `.NAME.*.tmp` file.

    Raises:
        EvidenceError: the device cannot take the data (full, read-only, I/O error).
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        # Not tempfile: it makes private files, and results are for everyone the umask allows.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _write_error(target, error) from error
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        sync(target.parent)
    except OSError as error:
        if error.errno in _DEVICE_FAULTS:
            raise _write_error(target, error) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Write `data` to `path` atomically; text is UTF-8 with the line ends it has.

    Raises:
        EvidenceError: as `atomic_path`.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _write_error(path: Path, error: OSError) -> EvidenceError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return EvidenceError(f"{path}: could not be written: {reason}; an earlier file of that name is unchanged")


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a directory, before anything that follows."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
