"""SHA-256 of files, JSON values and directory trees, and `NAME.sha256` sidecars as `sha256sum -c` reads."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import DigestError
from c2o_evidence.limits import MAX_SIDECAR
from c2o_evidence.paths import resolve_inside
from c2o_evidence.plain_file import NotPlain, open_plain, read_plain

CHUNK = 1 << 18  # bytes; one system call is small beside the hashing, and the chunk stays in the second-level cache
_SIDECAR_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\n]+)\n?")


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data` as 64 lowercase hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_stream(
    descriptor: int, buffer: bytearray | None = None, progress: Callable[[int], None] | None = None
) -> str:
    """SHA-256 of what an open file holds from its begin on. Raises OSError as reading does, or if the file grows.

    Args:
        buffer: where to read to, for a caller that hashes many files; overwritten.
        progress: called with the number of bytes after each chunk.
    """
    buffer = bytearray(CHUNK) if buffer is None else buffer
    view = memoryview(buffer)
    digest = hashlib.sha256()
    left = os.fstat(descriptor).st_size
    while count := os.readv(descriptor, [buffer]):
        left -= count
        if left < 0:  # a writer could keep a reader busy forever
            raise NotPlain(errno.EBUSY, "grew while it was read")
        digest.update(view[:count])
        if progress is not None:
            progress(count)
    return digest.hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content, read in chunks.

    Raises:
        DigestError: the file does not exist or cannot be read.
    """
    try:
        descriptor = open_plain(path)
        try:
            return sha256_stream(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DigestError(f"{path}: cannot be read: {error.strerror}; restore the file or make it again") from error


def canonical_json(value: Any) -> bytes:
    """The one UTF-8 JSON spelling of a value: sorted keys, no spaces, shortest floats that read back equal.

    Mapping keys must be strings, floats finite. Tuples are written as lists.

    Raises:
        DigestError: the value holds something that has no such spelling (nan, bytes, dates, non-string keys).
    """
    _check_json(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DigestError(f"{where or 'value'}: {key!r} is not a text key; write it in quotes")
            _check_json(item, f"{where}.{key}" if where else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise DigestError(f"{where or 'value'}: {value!r} has no digest; use a finite number")
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise DigestError(f"{where or 'value'}: {value!r} is half a character, which has no digest; correct it")
    elif not (value is None or isinstance(value, (bool, int))):
        raise DigestError(
            f"{where or 'value'}: a {type(value).__name__} has no digest; use text, numbers, lists, mappings"
        )


def json_digest(value: Any) -> str:
    """SHA-256 of `canonical_json(value)`."""
    return sha256_bytes(canonical_json(value))


def tree_digest(root: Path | str, relative_paths: Iterable[str]) -> str:
    """One digest for a set of files: SHA-256 over the lines `DIGEST  PATH` sorted by path.

    Independent of the order given, of mtimes, modes and of where `root` lies.

    Raises:
        UnsafePathError: a path leaves `root`.
        DigestError: a file is missing, or a path is listed twice.
    """
    base = Path(root)
    paths = sorted(relative_paths)
    for first, second in zip(paths, paths[1:], strict=False):
        if first == second:
            raise DigestError(f"{first}: listed twice; list every file once")
    lines = (f"{sha256_file(resolve_inside(base, path))}  {path}\n" for path in paths)
    return sha256_bytes("".join(lines).encode("utf-8"))


def sidecar_path(path: Path | str) -> Path:
    """`DIR/NAME.sha256` for `DIR/NAME`."""
    target = Path(path)
    return target.with_name(target.name + ".sha256")


def write_sidecar(path: Path | str) -> Path:
    """Write `NAME.sha256` beside the file, the line `sha256sum NAME` prints, and return its path."""
    target = Path(path)
    sidecar = sidecar_path(target)
    atomic_write(sidecar, f"{sha256_file(target)}  {target.name}\n")
    return sidecar


def read_sidecar(path: Path | str) -> str:
    """Return the digest that the sidecar of `path` promises, without reading `path`.

    Raises:
        DigestError: the sidecar is missing, malformed, or names another file.
    """
    target = Path(path)
    sidecar = sidecar_path(target)
    try:
        text = read_plain(sidecar, MAX_SIDECAR).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DigestError(f"{sidecar}: cannot be read; make it again from a trusted copy of {target.name}") from error
    match = _SIDECAR_LINE.fullmatch(text)
    if match is None:
        raise DigestError(f"{sidecar}: is not one line `SHA256  NAME`; make it again from a trusted copy")
    if match[2] != target.name:
        raise DigestError(f"{sidecar}: names {match[2]!r} instead of {target.name!r}; it belongs to another file")
    return match[1]


def check_sidecar(path: Path | str) -> str:
    """Check a file against its sidecar and return its digest.

    Raises:
        DigestError: they differ (`expected … found …`), or one of them is missing. Nothing is deleted.
    """
    expected = read_sidecar(path)
    check_digest(path, expected)
    return expected


def check_digest(path: Path | str, expected: str) -> None:
    """Raise DigestError unless the file's SHA-256 is `expected`."""
    found = sha256_file(path)
    if found != expected:
        raise DigestError(f"{path}: sha256: expected {expected}, found {found}; restore the file or make it again")
