"""Paths that are read from files: accepted only when they stay inside the directory they belong to."""

from pathlib import Path, PurePosixPath

from c2o_evidence.errors import UnsafePathError


def safe_relative(text: str) -> PurePosixPath:
    """Return `text` as a relative POSIX path in its one canonical spelling.

    Raises:
        UnsafePathError: the path is empty, absolute, has a `..`, `.` or empty part, a backslash, a drive
            letter or a control character. The message names the path and the fault.
    """
    fault = path_fault(text)
    if fault:
        raise UnsafePathError(f"{text!r}: {fault}; only a plain path relative to its directory is accepted")
    return PurePosixPath(text)


def path_fault(text: str) -> str | None:
    """Say what makes `text` unusable as a relative path, or None when it is fine."""
    if not text:
        return "the path is empty"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "the path has a control character"
    if "\\" in text or (len(text) > 1 and text[1] == ":"):
        return "the path is not in POSIX form"
    if text.startswith("/"):
        return "the path is absolute"
    parts = text.split("/")
    if ".." in parts:
        return "the path climbs out of its directory"
    if "" in parts or "." in parts:
        return "the path is not in its shortest form"
    return None


def resolve_inside(root: Path, relative: str) -> Path:
    """Return `root / relative`, refusing paths that leave `root` by their text or through a symbolic link.

    The file need not exist.

    Raises:
        UnsafePathError: see `safe_relative`; also when a link on the way leads out of `root`.
    """
    path = root / safe_relative(relative)
    if not path.resolve().is_relative_to(root.resolve()):
        raise UnsafePathError(f"{relative!r}: a link leads out of its directory; replace the link by the file")
    return path
