"""Opening and reading files that others may have made: plain files only, never waiting, never more than a limit.

A named pipe would hold a reader forever, a device has no end, and a file may be exchanged between the look at it and
its opening. So a file is opened without waiting, and what was opened is looked at, not what lay there before.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from c2o_evidence.limits import SPARSE_FROM, SPARSE_RATIO

Stamp = tuple[int, int, int, int, int]
"""What tells one state of one file from another: device, inode, size, mtime and ctime in ns."""

LIMITS = "c2o_evidence/limits.py"
MAX_EXTENTS = 4096  # pieces of a sparse file that are added up; one with more is taken for full


class NotPlain(OSError):
    """What was opened is no plain file, or not the one that was looked at before."""


def stamp(info: os.stat_result) -> Stamp:
    """The stamp of a file. Only root can set a ctime, so a file that was written to has another one."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def open_plain(path: Path | str, *, follow: bool = True) -> int:
    """A descriptor for reading a plain file; the caller closes it.

    Args:
        follow: whether the last part of the path may be a link. In a bundle it may not.

    Raises:
        OSError: it cannot be opened, or is no plain file; `strerror` says which.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket, or a device without a driver
            raise NotPlain(error.errno, "is not a plain file", str(path)) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotPlain(errno.EINVAL, "is not a plain file", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_plain(path: Path | str, most: int) -> bytes:
    """The content of a plain file of at most `most` bytes (a limit of limits.py).

    Raises:
        OSError: it cannot be opened, is no plain file, or is larger; `strerror` says which.
    """
    with open(open_plain(path), "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"has {size} bytes, more than the limit of {most} ({LIMITS})", str(path))
        data = stream.read(size + 1) or b""
        if len(data) != size:
            raise NotPlain(errno.EBUSY, "changed its size while it was read", str(path))
        return data


def sparse_fault(descriptor: int, size: int) -> str | None:
    """Why a file is no honest one of its size: it is far more hole than data. None where it is fine.

    File systems that know no holes (and those that compress) call everything data.
    """
    if size < SPARSE_FROM:
        return None
    data, position = 0, 0
    try:
        for _ in range(MAX_EXTENTS):
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, begin, os.SEEK_HOLE)
            data += position - begin
            if position >= size or data * SPARSE_RATIO >= size:
                break
        else:
            return None
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: no data from there on
            return None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    if data * SPARSE_RATIO >= size:
        return None
    return f"is a sparse file: it declares {size} bytes and holds {data}"
