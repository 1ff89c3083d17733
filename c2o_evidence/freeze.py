"""Freezing: a verified bundle becomes `deliverables/NAME`, read-only, its root digest in the ledger.

A transaction: killed or out of disk at any moment, `deliverables/NAME` is the whole old deliverable or the
whole new one. The ledger is written first, then the directories change places in one step (swap.py); a run that
died between the two is completed by freezing again, and until then `c2o verify` says that the deliverable is not
the one in the ledger. Freezes of one ledger run one after the other.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from c2o_evidence.atomic import atomic_write, sync
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError, FrozenError
from c2o_evidence.json_file import parse_json
from c2o_evidence.ledger import Frozen, current, default_ledger, ledger_text, read_rows, with_freeze
from c2o_evidence.limits import MAX_SUMS, MAX_TEXT
from c2o_evidence.lock import locked
from c2o_evidence.paths import resolve_inside
from c2o_evidence.plain_file import open_plain, read_plain
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.swap import put_in_place, recover, staging
from c2o_evidence.tsv import Row
from c2o_evidence.verify.files import check_files

SHOWN = 12  # differing files that a message lists
LOCK_SECONDS = 600.0


def _sums(bundle: Path) -> tuple[dict[str, str], str]:
    """Listed digests and root digest. Raises EvidenceError if the list is missing or damaged."""
    path = bundle / SUMS_NAME
    try:
        data = read_plain(path, MAX_SUMS)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; stage the bundle first") from error
    listed, problems = parse_sums(data)
    if problems or not listed:
        what = problems[0].message if problems else "lists no file"
        raise EvidenceError(f"{path}: {what}; stage the bundle again")
    return listed, sha256_bytes(data)


def verified_root(report: Path) -> str:
    """The root digest of the bundle that a report of `c2o verify --level tables --json` is of.

    Raises:
        EvidenceError: the report cannot be read, is of another level, or says that the bundle does not hold.
    """
    try:
        document = parse_json(read_plain(report, MAX_TEXT))
        if document["verified"] is True and document["level"] == "tables":
            return str(document["root_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise EvidenceError(f"{report}: does not say that the tables of a bundle were verified; verify it again")


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """`changed PATH`, `new PATH`, `gone PATH`, what readers care most about (tables, checkpoints) first."""
    lines = [(path, "changed") for path in old.keys() & new.keys() if old[path] != new[path]]
    lines += [(path, "new") for path in new.keys() - old.keys()]
    lines += [(path, "gone") for path in old.keys() - new.keys()]

    def weight(item: tuple[str, str]) -> tuple[int, str]:
        path = item[0]
        for rank, ending in enumerate(("model.safetensors", "results.tsv", "summary.tsv", "suite.yaml", ".tsv")):
            if path.endswith(ending):
                return rank, path
        return 9, path

    return [f"{what} {path}" for path, what in sorted(lines, key=weight)]


def check_refreeze(
    bundle_dir: Path,
    name: str,
    ledger: Path,
    *,
    deliverable_dir: Path | None = None,
    allow_refreeze: bool = False,
) -> str:
    """Returns the root digest of `bundle_dir` if it may be frozen as `name`; ask before deleting the old.

    Raises:
        FrozenError: another content is frozen under the name and `allow_refreeze` is false; the message lists
        the files
            that differ (from `deliverable_dir`, or `deliverables/NAME` beside the ledger's directory).
        EvidenceError: the bundle or the ledger is damaged.
    """
    listed, root_digest = _sums(bundle_dir)
    frozen = current(read_rows(ledger), name, ledger)
    if frozen is None or frozen.root_sha256 == root_digest or allow_refreeze:
        return root_digest
    old_dir = deliverable_dir if deliverable_dir is not None else ledger.parent.parent / "deliverables" / name
    lines = [
        f"deliverables/{name}: another content is frozen under this name",
        f"  frozen: {frozen.root_sha256} (revision {frozen.revision})",
        f"  new:    {root_digest}",
    ]
    try:
        lines += _list_differences(*_sums(old_dir), frozen, listed)
    except EvidenceError:
        lines.append("  (the frozen copy is not there to compare with)")
    lines.append("nothing was changed; freeze under another suite name, or ask for a refreeze: "
                 "--config refreeze=true keeps the old digest in the history")  # fmt: skip
    raise FrozenError("\n".join(lines))


def _list_differences(old: dict[str, str], old_digest: str, frozen: Frozen, new: dict[str, str]) -> list[str]:
    lines = [f"  {line}" for line in differences(old, new)]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"  … and {len(lines) - SHOWN} more files"]
    if old_digest != frozen.root_sha256:
        lines.append("  (the directory there is not the frozen one either: `c2o verify` says what is wrong with it)")
    return lines


def _copy_synced(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(open_plain(source, follow=False), "rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
        os.fchmod(writer.fileno(), 0o444)


def freeze(
    bundle_dir: Path,
    deliverable_dir: Path,
    ledger: Path | None = None,
    allow_refreeze: bool = False,
    *,
    verified: str | None = None,
) -> Frozen:
    """Freezes the bundle at `bundle_dir` as `deliverable_dir` and returns its entry in the ledger.

    `verified`: the root digest that was verified (`verified_root`); any other content is refused.

    Files become read-only (0444); directories stay writable so that the deliverable can be moved. Freezing
    the same content again changes nothing in the ledger and repairs the directory.

    Raises:
        FrozenError: see `check_refreeze`.
        EvidenceError: the bundle does not verify, or there is no space; the old deliverable is as it was.
    """
    ledger = default_ledger(deliverable_dir) if ledger is None else ledger
    try:
        deliverable_dir.parent.mkdir(parents=True, exist_ok=True)
        with locked(ledger, LOCK_SECONDS):
            recover(deliverable_dir)
            try:
                return _freeze(bundle_dir, deliverable_dir, ledger, allow_refreeze, verified)
            finally:
                recover(deliverable_dir)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise EvidenceError(f"{deliverable_dir}: could not be frozen: {reason}; what was there is unchanged") from error


def _freeze(
    bundle_dir: Path, deliverable_dir: Path, ledger: Path, allow_refreeze: bool, verified: str | None
) -> Frozen:
    name = deliverable_dir.name
    root_digest = check_refreeze(
        bundle_dir, name, ledger, deliverable_dir=deliverable_dir, allow_refreeze=allow_refreeze
    )
    if verified is not None and verified != root_digest:
        raise EvidenceError(
            f"{bundle_dir}: is not the bundle that was verified: root digest expected {verified}, found {root_digest}; "
            "verify it again"
        )
    staged = staging(deliverable_dir, f"freeze-{secrets.token_hex(4)}")
    n_files, n_bytes = _copy_verified(bundle_dir, staged, root_digest)
    before = read_rows(ledger)
    rows = with_freeze(before, name, root_digest, n_files, n_bytes, supersede=allow_refreeze)
    try:
        if rows != before:
            atomic_write(ledger, ledger_text(rows))
        put_in_place(staged, deliverable_dir)
    except BaseException as error:
        if not _is_there(deliverable_dir, root_digest):
            _take_back(ledger, before, deliverable_dir, error)
        raise
    try:
        sync(deliverable_dir.parent)
    except OSError as error:
        raise EvidenceError(
            f"{deliverable_dir}: is frozen, but may be lost if the machine stops now: {error.strerror}; freeze again"
        ) from error
    frozen = current(rows, name, ledger)
    assert frozen is not None  # with_freeze has just put it there
    return frozen


def _is_there(deliverable_dir: Path, root_digest: str) -> bool:
    """Whether the directories have changed places: an interrupt may come just after that."""
    try:
        return _sums(deliverable_dir)[1] == root_digest
    except EvidenceError:
        return False


def _take_back(ledger: Path, before: list[Row], deliverable_dir: Path, cause: BaseException) -> None:
    """Undo the freeze in the ledger."""
    try:
        if read_rows(ledger) != before:
            atomic_write(ledger, ledger_text(before))
    except EvidenceError as error:
        raise EvidenceError(
            f"{deliverable_dir}: could not be frozen: {cause}; the old deliverable is whole, but {ledger.name} names "
            f"the new one already and could not be taken back ({error}); put that right and freeze again"
        ) from cause


def _copy_verified(bundle_dir: Path, staged: Path, root_digest: str) -> tuple[int, int]:
    """Copies what SHA256SUMS lists, nothing else, and verifies the copy: number of files, and their bytes."""
    listed, _ = _sums(bundle_dir)
    staged.mkdir()
    for path in [*sorted(listed), SUMS_NAME]:
        source = resolve_inside(bundle_dir, path)
        if source.is_symlink() or not source.is_file():
            raise EvidenceError(f"{source}: is missing or not a plain file; stage the bundle again")
        _copy_synced(source, staged / path)
    result = check_files(staged)
    if result.findings:
        raise EvidenceError(f"{bundle_dir}: does not verify: {result.findings[0]}; stage the bundle again")
    if result.root_digest != root_digest:
        raise EvidenceError(f"{bundle_dir}: changed while it was being frozen; freeze again when nothing writes to it")
    for folder, _, _ in os.walk(staged, topdown=False):
        os.chmod(folder, 0o755)
        sync(Path(folder))
    return len(listed), result.n_bytes
