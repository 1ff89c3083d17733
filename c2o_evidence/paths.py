"""Paths that are read from files: accepted only when they stay inside the directory they belong to."""

import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from c2o_evidence.errors import UnsafePathError
from c2o_evidence.limits import MAX_NAME, MAX_PATH

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def safe_relative(text: str) -> PurePosixPath:
    """Return `text` as a relative POSIX path in its one canonical spelling.

    Raises:
        UnsafePathError: the path is empty, absolute, has a `..`, `.` or empty part, a backslash, a drive
            letter or a control character, is not UTF-8 in normal form NFC, or too long. The message names the path
            and the fault.
    """
    fault = path_fault(text)
    if fault:
        raise UnsafePathError(f"{text!r}: {fault}; only a plain path relative to its directory is accepted")
    return PurePosixPath(text)


def path_fault(text: str) -> str | None:
    """Say what makes `text` unusable as a relative path, or None when it is fine."""
    if not text:
        return "the path is empty"
    if _CONTROL.search(text):
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
    if not text.isascii():
        return _unicode_fault(text)
    if len(text) > MAX_PATH or (len(text) > MAX_NAME and max(map(len, parts)) > MAX_NAME):
        return "the path is too long"
    return None


def _unicode_fault(text: str) -> str | None:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        return "the path is not UTF-8"
    if not text.isprintable():  # controls beyond ASCII, and what shows a name in another order than it has
        return "the path has a control character"
    if not unicodedata.is_normalized("NFC", text):
        return "the path is not in Unicode's normal form NFC, so another path looks the same"
    if len(data) > MAX_PATH or max(map(len, data.split(b"/"))) > MAX_NAME:
        return "the path is too long"
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


class Inside:
    """`resolve_inside` for many paths below one root: a directory that several of them share is looked at once.

    For one pass over files: a link that is made afterwards is not seen.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._base = os.fspath(root)
        self._plain = {"": True}

    def resolve(self, relative: str) -> str:
        """The path as text. Raises UnsafePathError as `resolve_inside` does."""
        if path_fault(relative) is not None or not self._is_plain(relative):
            return os.fspath(resolve_inside(self.root, relative))
        return f"{self._base}/{relative}"

    def _is_plain(self, relative: str) -> bool:
        """Whether no part of the path is a link; what is not there is none."""
        parent = relative.rpartition("/")[0]
        plain = self._plain.get(parent)
        if plain is None:
            plain = self._plain[parent] = self._is_plain(parent)
        if not plain:
            return False
        try:
            return not stat.S_ISLNK(os.lstat(f"{self._base}/{relative}").st_mode)
        except OSError:
            return True
