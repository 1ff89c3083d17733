"""The results manifest: the global index of results TSVs, merged from any number of jobs in any order.

What is in the manifest is a function of the files on disk and of the rows ever merged, not of the order or
number of merges: a row is kept only while its TSV has the digest it names and its checkpoints exist.

A merge looks at every file of every row. It reads again only what has been touched since a merge has read it: digests
are kept in `results/.state`, by the state of the file (digest_cache.py). The manifest is an index, not a proof; `c2o
verify` reads the files.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.digest_cache import NAME, DigestCache, file_state
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import TableError, UnsafePathError
from c2o_evidence.lock import locked
from c2o_evidence.paths import Inside
from c2o_evidence.stats import mean, std_pop
from c2o_evidence.tsv import Row, format_tsv, read_tsv

SCHEMA = "results_manifest"
JOIN = ";"


@dataclass(frozen=True)
class DroppedRow:
    """A row that was in the manifest and is no more, and why."""

    exp_id: str
    tsv_path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.tsv_path} ({self.exp_id}): dropped from the manifest: {self.reason}"


@dataclass(frozen=True)
class Merge:
    """The manifest after a merge: its rows, and the rows that had to go."""

    rows: tuple[Row, ...]
    dropped: tuple[DroppedRow, ...]


def results_rows(tsv: Path | str, suite_dir: Path | str, root: Path | str, notes: str | None = None) -> list[Row]:
    """The manifest rows of a results TSV: one for each exp_name in it.

    Args:
        tsv: the results TSV.
        suite_dir: `results/SUITE`, which the checkpoints in the TSV are relative to.
        root: the repository, which the paths in the manifest are relative to.

    Raises:
        TableError: the TSV is malformed; one checkpoint has two digests in it.
    """
    base, path = Path(root).resolve(), Path(tsv).resolve()
    prefix = Path(suite_dir).resolve().relative_to(base)
    groups: dict[str, list[Row]] = {}
    for row in read_tsv(tsv, "results"):
        groups.setdefault(row["exp_name"], []).append(row)
    digest = sha256_file(path)
    rows = []
    for exp_id, runs in sorted(groups.items()):
        ckpts: dict[str, str] = {}
        for run in runs:
            ckpt = (prefix / run["ckpt_path"]).as_posix()
            if ckpts.setdefault(ckpt, run["ckpt_sha256"]) != run["ckpt_sha256"]:
                raise TableError(f"{tsv}: ckpt_sha256: {run['ckpt_path']} has two digests; evaluate again")
        rows.append(
            {
                "exp_id": exp_id,
                "tsv_path": path.relative_to(base).as_posix(),
                "tsv_sha256": digest,
                "ckpts": JOIN.join(sorted(ckpts)),
                "ckpt_sha256s": JOIN.join(ckpts[name] for name in sorted(ckpts)),
                "n_runs": len(runs),
                "mean_AP": mean([run["AP"] for run in runs]),
                "std_AP_pop": std_pop([run["AP"] for run in runs]),
                "notes": notes,
            }
        )
    return rows


def read_results_manifest(path: Path | str) -> list[Row]:
    """The rows of a results manifest; none where there is no file yet.

    Raises:
        TableError: the file is malformed.
    """
    return read_tsv(path, SCHEMA) if Path(path).exists() else []


def merge_results_manifest(
    manifest_path: Path | str,
    rows: Iterable[Mapping[str, Any]],
    *,
    root: Path | str | None = None,
    timeout: float = 30.0,
) -> Merge:
    """Put rows into the manifest, in the place of rows with the same TSV and exp_id, and drop rows that no
    longer hold.

    Merging the same rows again changes nothing, not even the file's mtime. Several processes may merge at
    once.

    Args:
        rows: as `results_rows` makes them.
        root: what the paths in the rows are relative to; default: the directory above the manifest's.
        timeout: seconds to wait for another process.

    Raises:
        TableError: the manifest or a row is malformed, or a new row's TSV or checkpoint is not there with
            its digest.
        LockError: another process holds the manifest for longer than `timeout`.
    """
    path = Path(manifest_path)
    base = Path(root) if root is not None else path.resolve().parent.parent
    new = {_key(row): dict(row) for row in rows}
    format_tsv(new.values(), SCHEMA, str(path))
    with locked(path, timeout), DigestCache(base / "results" / ".state" / NAME) as cache:
        files = _Files(base, cache)
        for row in new.values():
            if reason := files.fault(row):
                raise TableError(f"{path}: {row['tsv_path']} ({row['exp_id']}): {reason}")
        merged = {_key(row): row for row in read_results_manifest(path)}
        dropped = []
        for key, row in sorted(merged.items()):
            if key not in new and (reason := files.fault(row)):
                dropped.append(DroppedRow(row["exp_id"], row["tsv_path"], reason))
                del merged[key]
        merged |= new
        text = format_tsv(merged.values(), SCHEMA, str(path)).encode("utf-8")
        if not path.exists() or path.read_bytes() != text:
            atomic_write(path, text)
    kept = sorted(merged.values(), key=lambda row: (row["exp_id"], row["tsv_path"]))
    return Merge(tuple(kept), tuple(dropped))


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row.get("tsv_path")), str(row.get("exp_id"))


class _Files:
    """The files that rows speak of, each looked at once a merge."""

    def __init__(self, root: Path, cache: DigestCache) -> None:
        self._inside = Inside(root)
        self._cache = cache
        self._digests: dict[str, str] = {}
        self._exists: dict[str, bool] = {}

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Why a row does not hold, or None. Checkpoints are looked for, not hashed: verification does that."""
        try:
            tsv = self._inside.resolve(row["tsv_path"])
            ckpts = [(name, self._inside.resolve(name)) for name in row["ckpts"].split(JOIN)]
        except UnsafePathError as error:
            return str(error)
        if not self._is_file(tsv):
            return "the TSV is missing"
        if self._digest(tsv, row["tsv_sha256"]) != row["tsv_sha256"]:
            return "the TSV has changed"
        for name, ckpt in ckpts:
            if not self._is_file(ckpt):
                return f"the checkpoint {name} is missing"
        return None

    def _is_file(self, path: str) -> bool:
        known = self._exists.get(path)
        if known is None:
            try:
                known = stat.S_ISREG(os.stat(path).st_mode)
            except OSError:
                known = False
            self._exists[path] = known
        return known

    def _digest(self, path: str, expected: str) -> str:
        digest = self._digests.get(path)
        if digest is None:
            started, state = time.time_ns(), file_state(path)
            if state is not None and self._cache.agrees(state, expected):
                digest = expected
            else:
                digest = sha256_file(path)
                if state is not None:
                    self._cache.learn(path, state, digest, started)
            self._digests[path] = digest
        return digest
