"""Digests that were computed before, by the state of the file: device, inode, size, mtime and ctime in nanoseconds.

A cache saves reading files again that nobody has touched. It can only confirm: where it does not hold the very digest
that is expected, the file is read. So a damaged cache costs time, never a false alarm. What it cannot see is a file
changed without a trace in its times, by a broken disk or by someone who sets the clock; so verification uses it only
when told to (`c2o verify --cached`), and says how much came from it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from c2o_evidence.errors import EvidenceError

NAME = "digests.sqlite3"
VERSION = 1
LIMIT = 1_000_000  # entries, about 100 MB; the oldest go first
# A file changed twice within one tick of the file system's clock shows one time for both: a digest is kept only of a
# file that has been at rest for longer than any tick.
REST_NS = 2_000_000_000
WAIT_SECONDS = 5.0  # for another process that writes

_CREATE = """CREATE TABLE IF NOT EXISTS digests (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    sha256 TEXT, stored INTEGER, PRIMARY KEY (device, inode)) WITHOUT ROWID"""
_FIND = "SELECT size, mtime_ns, ctime_ns, sha256 FROM digests WHERE device = ? AND inode = ?"
_STORE = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)"
_OLDEST = "SELECT device, inode FROM digests ORDER BY stored LIMIT ?"


class FileState(NamedTuple):
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def file_state(path: Path | str) -> FileState | None:
    """The state of a plain file; None for anything else, a link too, or where there is nothing."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    return FileState(_signed(info.st_dev), _signed(info.st_ino), info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _signed(number: int) -> int:
    """As SQLite keeps it: in 64 bits with a sign."""
    return number - (1 << 64) if number >= 1 << 63 else number


def user_cache() -> Path:
    """The cache of this user: `$XDG_CACHE_HOME/c2o`, else `~/.cache/c2o`.

    Raises:
        EvidenceError: the user has no home directory, as in some containers.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base, "c2o", NAME)
    try:
        return Path.home() / ".cache" / "c2o" / NAME
    except RuntimeError:
        raise EvidenceError("no place for a digest cache: there is no home directory; set XDG_CACHE_HOME") from None


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no cache; else it is busy, or may not be read or written, and may be fine."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DigestCache:
    """A cache in one file, for one process and thread at a time; others may use the same file meanwhile.

    Nothing here fails for want of a cache: one that cannot be opened or written is an empty one, and a damaged one is
    made anew. What was learned is written on leaving `with`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._learned: list[tuple[FileState, str]] = []
        self._database = self._open()

    def __enter__(self) -> DigestCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection | None:
        """The database, or None where there is none yet or none that can be read."""
        if not os.path.isfile(self.path):  # False too where it may not be looked at
            return None
        database = None
        try:
            database = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == VERSION:
                database.execute(_FIND, (0, 0)).fetchone()
                return database
            if version:
                self._drop(database, damaged=True)
            else:  # another process is about to write the first entries
                database.close()
        except sqlite3.Error as error:
            self._drop(database, damaged=_is_damage(error))
        return None

    def _drop(self, database: sqlite3.Connection | None, *, damaged: bool) -> None:
        if database is not None:
            database.close()
        if damaged:
            with suppress(OSError):
                self.path.unlink()

    def agrees(self, state: FileState, sha256: str) -> bool:
        """Whether a file in this state is known to have this digest."""
        if self._database is None:
            return False
        try:
            found = self._database.execute(_FIND, (state.device, state.inode)).fetchone()
        except sqlite3.Error as error:
            self._drop(self._database, damaged=_is_damage(error))
            self._database = None
            return False
        return bool(found == (state.size, state.mtime_ns, state.ctime_ns, sha256))

    def learn(self, path: Path | str, before: FileState, sha256: str, started_ns: int) -> None:
        """Remember what a file hashed to, unless it has changed since, or had only just changed.

        Args:
            before: its state before it was read.
            started_ns: `time.time_ns()` before it was read.
        """
        if max(before.mtime_ns, before.ctime_ns) + REST_NS < started_ns and file_state(path) == before:
            self._learned.append((before, sha256))

    def close(self) -> None:
        """Write what was learned."""
        try:
            if self._learned:
                self._store()
        except sqlite3.Error as error:  # a full disk, another writer: the next run reads the files again, that is all
            self._drop(self._database, damaged=_is_damage(error))
        except OSError:
            pass
        finally:
            self._learned = []
            if self._database is not None:
                self._database.close()
                self._database = None

    def _store(self) -> None:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        database, now = self._database, int(time.time())
        # One transaction, made explicitly: no other process ever sees a database without its table and version.
        database.execute("BEGIN IMMEDIATE")
        database.execute(_CREATE)
        database.execute(f"PRAGMA user_version = {VERSION:d}")
        rows = ((s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns, digest, now) for s, digest in self._learned)
        database.executemany(_STORE, rows)
        (count,) = database.execute("SELECT count(*) FROM digests").fetchone()
        if count > LIMIT:
            oldest = database.execute(_OLDEST, (count - LIMIT + LIMIT // 10,)).fetchall()
            database.executemany("DELETE FROM digests WHERE device = ? AND inode = ?", oldest)
        database.execute("COMMIT")
