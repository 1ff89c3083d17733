"""A large JSON file whose top level is an object of lists, read one list item at a time.

Parsed as a whole, the JSON of Objects365's train would take a hundred GB of memory. Here the memory is that of one
record and a buffer, and the digest of the file falls out of the same pass.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_FILE, MAX_SET_RECORD
from c2o_evidence.plain_file import LIMITS, open_looked_at, sparse_fault

CHUNK = 1 << 20  # bytes read at once
COPY_AGAIN = "copy it again from its source"
VALUE = -1  # the number of what is no list item

Event = tuple[str, int, Any]
"""Key of the top level, number of the list item or VALUE, and the item. A list is announced with VALUE and []."""

_SPACE = re.compile(r"[ \t\n\r]*")
_OPEN_NUMBER = re.compile(r"[-+.eE0-9]*")  # all that is left after a value: a number may go on in the next piece


def open_set_file(path: Path, most: int = MAX_SET_FILE) -> tuple[int, int]:
    """A descriptor of a plain file of a data set, and its size in bytes; the caller closes it.

    Raises:
        DataSetError: it is missing, no plain file, larger than `most` bytes, or mostly hole.
    """
    try:
        descriptor, info = open_looked_at(path)
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read ({error.strerror}); {COPY_AGAIN}") from None
    fault = sparse_fault(descriptor, info.st_size)
    if info.st_size > most:
        fault = f"has {info.st_size} bytes, more than the limit of {most} ({LIMITS})"
    if fault:
        os.close(descriptor)
        raise DataSetError(f"{path}: {fault}; {COPY_AGAIN}")
    return descriptor, info.st_size


class JsonStream:
    """One pass over a file. After `events` has ended, `sha256` and `size` are those of the file."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None = None) -> None:
        """`progress` is called with the number of bytes of each piece that was read."""
        self.path = path
        self.size = 0
        self.sha256 = ""
        self._progress = progress
        self._decode = json.JSONDecoder(parse_constant=_refuse).raw_decode
        self._text = ""
        self._at = 0
        self._place = "the begin"

    def events(self) -> Iterator[Event]:
        """Everything at the top level, in the order of the file.

        Raises:
            DataSetError: the file cannot be read, is not one JSON object, gives a key of the top level twice, or has a
                record over the limit; names the file and the place.
        """
        descriptor, _ = open_set_file(self.path)
        with open(descriptor, "rb", buffering=0) as stream:
            digest = hashlib.sha256()
            utf8 = codecs.getincrementaldecoder("utf-8")()

            def more(want: int = CHUNK) -> bool:
                """Append up to `want` bytes to the text, dropping what is done; False at the end."""
                data = stream.read(want)
                digest.update(data)
                self.size += len(data)
                if self._progress is not None:
                    self._progress(len(data))
                if self.size > MAX_SET_FILE:
                    raise self._fail("grew while it was read")
                try:
                    text = utf8.decode(data, final=not data)
                except UnicodeDecodeError:
                    raise self._fail("is not UTF-8 text") from None
                self._text = self._text[self._at :] + text
                self._at = 0
                return bool(data)

            yield from self._object(more)
            if self._next(more) is not None:
                raise self._fail("has more after its JSON")
            self.sha256 = digest.hexdigest()

    def _object(self, more: Callable[..., bool]) -> Iterator[Event]:
        if self._next(more) != "{":
            raise self._fail("is no JSON object")
        self._at += 1
        seen: set[str] = set()
        if self._next(more) == "}":
            self._at += 1
            return
        while True:
            key = self._value(more)
            if not isinstance(key, str):
                raise self._fail("is not JSON: a key is no text")
            if key in seen:
                raise self._fail(f"gives {key[:100]!r} twice")
            seen.add(key)
            self._place = f"{key[:100]}:"
            if self._next(more) != ":":
                raise self._fail("is not JSON, corrupt or truncated")
            self._at += 1
            if self._next(more) == "[":
                yield from self._list(key, more)
            else:
                yield key, VALUE, self._value(more)
            if self._separator(more, "}"):
                return

    def _list(self, key: str, more: Callable[..., bool]) -> Iterator[Event]:
        self._at += 1
        yield key, VALUE, []
        if self._next(more) == "]":
            self._at += 1
            return
        number = 0
        while True:
            self._place = f"{key[:100]}[{number}]:"
            yield key, number, self._value(more)
            number += 1
            if self._separator(more, "]"):
                return

    def _next(self, more: Callable[..., bool]) -> str | None:
        """The next character that is no space, at `_at`; None at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not more():
                return None

    def _separator(self, more: Callable[..., bool], closing: str) -> bool:
        """Past a comma (False) or the closing bracket (True)."""
        found = self._next(more)
        if found not in (",", closing):
            raise self._fail("is not JSON, corrupt or truncated")
        self._at += 1
        return found == closing

    def _value(self, more: Callable[..., bool]) -> Any:
        self._next(more)
        want = CHUNK
        while True:
            fault = ""
            try:
                value, end = self._decode(self._text, self._at)
                if not _OPEN_NUMBER.fullmatch(self._text, end):
                    self._at = end
                    return value
            except ValueError as error:  # no JSON, a number of thousands of digits, or cut off at the end of the buffer
                fault = f"is not JSON, corrupt or truncated ({str(error)[:100]})"
            except RecursionError:
                raise self._fail("is nested too deeply") from None
            if len(self._text) - self._at > MAX_SET_RECORD:
                raise self._fail(fault or f"has more than the limit of {MAX_SET_RECORD} characters ({LIMITS})")
            if not more(want):
                raise self._fail(fault or "is not JSON, corrupt or truncated")
            want *= 2

    def _fail(self, what: str) -> DataSetError:
        return DataSetError(f"{self.path}: {self._place} {what}; {COPY_AGAIN}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
