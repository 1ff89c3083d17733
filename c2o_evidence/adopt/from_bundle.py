"""Results taken from a frozen bundle: verified, then copied to `results/SUITE`, never over something else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.adopt.check import Verdict
from c2o_evidence.adopt.jobs import data_manifest
from c2o_evidence.adopt.layout import Layout, Progress
from c2o_evidence.atomic import atomic_path
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.ledger import default_ledger, read_ledger
from c2o_evidence.suite import load_resolved_suite
from c2o_evidence.verify import verify

COPIED = ("train", "eval", "timing", "attention", "gallery", "parity", "tables", "figures", "manifest")


@dataclass
class Copied:
    """What was taken: how many files and bytes, which of them in the place of damaged ones; what was left, and why."""

    files: int = 0
    n_bytes: int = 0
    restored: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def check_bundle(bundle: Path, root: Path, progress: Progress | None = None) -> tuple[str, str, str]:
    """Suite, root digest and what vouches for it: the ledger beside the bundle, or the one of `root`, or nothing.

    Raises:
        EvidenceError: it is no bundle.
        DigestError: it does not verify at level `files`, or is not the one in the ledger.
    """
    report = verify(bundle, progress=None if progress is None else lambda _, count: progress(count))
    if not report.ok:
        more = f" and {len(report.findings) - 1} more" if len(report.findings) > 1 else ""
        raise DigestError(f"{bundle}: does not verify: {report.findings[0]}{more}; take another copy of it")
    name = load_resolved_suite(bundle / "suite.yaml").name
    vouching = ""
    for ledger in (default_ledger(bundle.resolve()), root / "manifests" / "deliverables.tsv"):
        frozen = read_ledger(ledger).get(name)
        if frozen is None:
            continue
        if report.root_digest not in (frozen.root_sha256, *frozen.history):
            raise DigestError(
                f"{bundle}: root digest: expected {frozen.root_sha256} ({ledger}), found {report.root_digest}; "
                "take another copy of it"
            )
        vouching = str(ledger)
    return name, report.root_digest, vouching


def check_made_data(layout: Layout, bundle: Path) -> None:
    """That the data set here is the very one of the bundle.

    Raises:
        EvidenceError: it is another one, or not there.
    """
    name = data_manifest(layout.suite)
    expected, found = sha256_file(bundle / "data" / "manifest.json"), sha256_file(layout.root / name)
    if found != expected:
        raise EvidenceError(
            f"{name}: sha256: expected {expected} (the bundle's data set), found {found}; "
            "another data set, or another generator: check out the sources that the bundle was made by"
        )


def copy_results(source: Layout, verdicts: Mapping[str, Verdict]) -> Copied:
    """Copies the files of every job that holds in the bundle to its place here, the record last.

    A place that holds something else is left as it is and named, except where the very record of the bundle lies
    beside it: what is not as that record says is damaged, and restored. Killed at any moment, the next call goes on.

    Raises:
        EvidenceError: the device cannot take the data; a copy is not what the bundle lists.
    """
    done = Copied()
    for verdict in verdicts.values():
        if verdict.job.kind not in COPIED or verdict.state != "current":
            continue
        names = sorted(verdict.job.outputs, key=lambda name: (name == verdict.job.record, name))
        other = [name for name in names if _is_another(source.root / name, source.digests[name])]
        record = verdict.job.record
        if other and not (record and (source.root / record).is_file() and record not in other):
            done.kept.append(f"{other[0]}: is not the bundle's file and was left; move it away to take the bundle's")
            continue
        done.restored += other
        for name in names:
            path = source.root / name
            if name in other or not path.exists():
                _copy(source.path(name), path, source.digests[name])
                done.files += 1
                done.n_bytes += path.stat().st_size
    return done


def _is_another(path: Path, digest: str) -> bool:
    """Whether something lies at `path` that is not the file of that digest."""
    if path.is_symlink() or not path.is_file():
        return path.is_symlink() or path.exists()
    return sha256_file(path) != digest


def _copy(source: Path, target: Path, digest: str) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        if (found := sha256_file(temporary)) != digest:
            raise DigestError(f"{source}: changed while it was being copied: expected {digest}, found {found}")
