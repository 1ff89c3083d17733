"""Freezing: a verified bundle becomes `deliverables/NAME`, read-only, its root digest in the ledger.

A transaction: killed or out of disk at any moment, `deliverables/NAME` is the whole old deliverable or the
whole new one. The ledger is written first, then the directories change places in one step; a run that died
between the two is completed by freezing again, and until then `c2o verify` says that the deliverable is not
the one in the ledger.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from pathlib import Path

from c2o_evidence.atomic import atomic_write, sync
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError, FrozenError
from c2o_evidence.ledger import Frozen, current, default_ledger, ledger_text, read_rows, with_freeze
from c2o_evidence.limits import MAX_SUMS
from c2o_evidence.lock import locked
from c2o_evidence.paths import resolve_inside
from c2o_evidence.plain_file import open_plain, read_plain
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.verify.files import check_files

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100
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


def _exchange(first: Path, second: Path) -> bool:
    """Lets two directories change places in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    result = renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _put_in_place(staged: Path, target: Path) -> None:
    """Makes `staged` the new `target`; what was there is left beside it, for `_recover` to remove."""
    if not os.path.lexists(target):
        staged.rename(target)
    elif not _exchange(staged, target):
        old = staged.with_name(staged.name + ".old")  # put back by _recover if we die before the next rename
        target.rename(old)
        try:
            staged.rename(target)
        except OSError:
            old.rename(target)
            raise


def _recover(target: Path) -> None:
    """Clears what killed freezes left behind; an old deliverable that was moved aside goes back to its
    place.
    """
    for left in sorted(target.parent.glob(f".{target.name}.freeze-*"), reverse=True):
        if left.name.endswith(".old") and not target.exists():
            left.rename(target)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def freeze(bundle_dir: Path, deliverable_dir: Path, ledger: Path | None = None, allow_refreeze: bool = False) -> Frozen:
    """Freezes the bundle at `bundle_dir` as `deliverable_dir` and returns its entry in the ledger.

    Files become read-only (0444); directories stay writable so that the deliverable can be moved. Freezing
    the same content again changes nothing in the ledger and repairs the directory.

    Raises:
        FrozenError: see `check_refreeze`.
        EvidenceError: the bundle does not verify, or there is no space; the old deliverable is as it was.
    """
    ledger = default_ledger(deliverable_dir) if ledger is None else ledger
    name = deliverable_dir.name
    deliverable_dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(ledger, LOCK_SECONDS):
        _recover(deliverable_dir)
        root_digest = check_refreeze(
            bundle_dir, name, ledger, deliverable_dir=deliverable_dir, allow_refreeze=allow_refreeze
        )
        staged = deliverable_dir.with_name(f".{name}.freeze-{secrets.token_hex(4)}")
        try:
            n_files, n_bytes = _copy_verified(bundle_dir, staged, root_digest)
            before = read_rows(ledger)
            rows = with_freeze(before, name, root_digest, n_files, n_bytes, supersede=allow_refreeze)
            atomic_write(ledger, ledger_text(rows))
            try:
                _put_in_place(staged, deliverable_dir)
            except BaseException:
                atomic_write(ledger, ledger_text(before))
                raise
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise EvidenceError(
                f"{deliverable_dir}: could not be frozen: {reason}; what was there is unchanged"
            ) from error
        finally:
            _recover(deliverable_dir)
        sync(deliverable_dir.parent)
        frozen = current(rows, name, ledger)
        assert frozen is not None  # with_freeze has just put it there
        return frozen


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
