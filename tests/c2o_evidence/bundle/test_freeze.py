"""Freezing: read-only, in the ledger, refused for another content. Crashes: tests/drills/test_crash_windows.py."""

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from c2o_evidence import freeze as freeze_module
from c2o_evidence import swap
from c2o_evidence.bundle import write_sha256sums
from c2o_evidence.errors import EvidenceError, FrozenError
from c2o_evidence.freeze import check_refreeze, freeze, verified_root
from c2o_evidence.ledger import read_ledger
from c2o_evidence.verify import verify


def paths(root: Path) -> tuple[Path, Path, Path]:
    return root / "results/toy/bundle", root / "deliverables/toy", root / "manifests/deliverables.tsv"


def change(bundle: Path) -> None:
    """Another content: a README and a table."""
    (bundle / "README.md").write_text("another\n")
    (bundle / "tables" / "summary.md").write_text("another\n")
    write_sha256sums(bundle)


def test_frozen_files_are_read_only_and_in_the_ledger(root: Path) -> None:
    bundle, target, ledger = paths(root)
    frozen = freeze(bundle, target)
    assert frozen.revision == 1 and frozen.history == ()
    assert frozen.files == len((target / "SHA256SUMS").read_text().splitlines())
    assert read_ledger(ledger)["toy"] == frozen
    for path in target.rglob("*"):
        expected = 0o755 if path.is_dir() else 0o444
        assert stat.S_IMODE(path.stat().st_mode) == expected
    assert verify(target).ok
    # A mover must be able to take it elsewhere, and Snakemake to delete it.
    shutil.rmtree(target)


def test_only_what_is_listed_is_frozen(root: Path) -> None:
    bundle, target, _ = paths(root)
    (bundle / ".snakemake_timestamp").touch()
    freeze(bundle, target)
    assert not (target / ".snakemake_timestamp").exists()


def test_the_same_content_again_changes_nothing_and_repairs(root: Path) -> None:
    bundle, target, ledger = paths(root)
    freeze(bundle, target)
    before = ledger.read_bytes()
    (target / "README.md").unlink()
    assert freeze(bundle, target).revision == 1
    assert ledger.read_bytes() == before
    assert verify(target).ok


def test_another_content_is_refused_and_says_what_differs(root: Path) -> None:
    bundle, target, ledger = paths(root)
    old = freeze(bundle, target)
    before = ledger.read_bytes()
    change(bundle)
    with pytest.raises(FrozenError) as refused:
        check_refreeze(bundle, "toy", ledger)
    message = str(refused.value)
    assert "deliverables/toy: another content is frozen under this name" in message
    assert old.root_sha256 in message and "changed README.md" in message and "changed tables/summary.md" in message
    assert "refreeze=true" in message
    with pytest.raises(FrozenError, match="another content is frozen"):
        freeze(bundle, target)
    assert ledger.read_bytes() == before
    assert verify(target).ok


def test_a_deleted_deliverable_does_not_open_the_name(root: Path) -> None:
    bundle, target, ledger = paths(root)
    freeze(bundle, target)
    shutil.rmtree(target)
    change(bundle)
    with pytest.raises(FrozenError, match="the frozen copy is not there to compare with"):
        check_refreeze(bundle, "toy", ledger)


def test_refreeze_keeps_the_old_digest(root: Path) -> None:
    bundle, target, ledger = paths(root)
    old = freeze(bundle, target)
    shutil.copytree(target, root / "deliverables" / "kept")
    change(bundle)
    new = freeze(bundle, target, allow_refreeze=True)
    assert new.revision == 2 and new.history == (old.root_sha256,)
    assert (target / "README.md").read_text() == "another\n"
    assert verify(target).ok
    # The old directory, put back by hand, is known as what it is.
    shutil.rmtree(target)
    (root / "deliverables" / "kept").rename(target)
    (finding,) = verify(target).findings
    assert finding.kind == "stale" and "is an older freeze (revision 1 of 2)" in finding.message


def test_a_damaged_bundle_is_not_frozen(root: Path) -> None:
    bundle, target, ledger = paths(root)
    (bundle / "README.md").write_text("edited after staging")
    with pytest.raises(EvidenceError, match="does not verify: changed: README.md"):
        freeze(bundle, target)
    assert not target.exists() and not ledger.exists()
    assert list(target.parent.iterdir()) == []


def test_disk_full_leaves_the_old_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, target, ledger = paths(root)
    freeze(bundle, target)
    before = ledger.read_bytes()
    change(bundle)
    copied = 0

    def full(source: Path, place: Path) -> None:
        nonlocal copied
        copied += 1
        if copied == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)

    monkeypatch.setattr(freeze_module, "_copy_synced", full)
    with pytest.raises(EvidenceError, match="could not be frozen: No space left on device"):
        freeze(bundle, target, allow_refreeze=True)
    assert ledger.read_bytes() == before
    assert verify(target).ok
    assert [path.name for path in target.parent.iterdir()] == ["toy"]


def test_a_failing_rename_takes_the_ledger_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, target, ledger = paths(root)
    freeze(bundle, target)
    before = ledger.read_bytes()
    change(bundle)

    def fail(staged: Path, place: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(freeze_module, "put_in_place", fail)
    with pytest.raises(EvidenceError, match="what was there is unchanged"):
        freeze(bundle, target, allow_refreeze=True)
    assert ledger.read_bytes() == before
    assert verify(target).ok


def test_without_atomic_exchange(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, target, _ = paths(root)
    freeze(bundle, target)
    change(bundle)
    monkeypatch.setattr(swap, "_exchange", lambda first, second: False)
    freeze(bundle, target, allow_refreeze=True)
    assert verify(target).ok
    assert [path.name for path in target.parent.iterdir()] == ["toy"]


def test_a_ledger_that_cannot_be_taken_back_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one case in which more than the deliverable is at stake: both the exchange and the way back fail."""
    bundle, target, ledger = paths(root)
    freeze(bundle, target)
    change(bundle)
    real, writes = freeze_module.atomic_write, 0

    def once(path: Path, text: str) -> None:
        nonlocal writes
        writes += 1
        if writes > 1:
            raise EvidenceError(f"{path}: could not be written: No space left on device")
        real(path, text)

    def fail(staged: Path, place: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(freeze_module, "atomic_write", once)
    monkeypatch.setattr(freeze_module, "put_in_place", fail)
    with pytest.raises(EvidenceError, match="the old deliverable is whole, but deliverables.tsv names the new one"):
        freeze(bundle, target, allow_refreeze=True)
    monkeypatch.undo()
    assert verify(target).kinds() == {"stale": 1}
    assert freeze(bundle, target).revision == 2 and verify(target).ok


def test_only_what_was_verified_is_frozen(root: Path) -> None:
    bundle, target, ledger = paths(root)
    kept, report = root / "kept", root / "verify.json"
    shutil.copytree(bundle, kept)
    report.write_text(verify(bundle, "tables", jobs=1).to_json())
    digest = hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
    assert verified_root(report) == digest
    change(bundle)
    with pytest.raises(EvidenceError, match=f"is not the bundle that was verified: root digest expected {digest}, f"):
        freeze(bundle, target, verified=verified_root(report))
    assert not target.exists() and not ledger.exists()
    assert freeze(kept, target, verified=verified_root(report)).root_sha256 == digest
    for edit in ({"verified": False}, {"level": "files"}, {"verified": "yes"}):
        report.write_text(json.dumps({"verified": True, "level": "tables", "root_digest": digest} | edit))
        with pytest.raises(
            EvidenceError, match=r"verify\.json: does not say that the tables of a bundle were verified"
        ):
            verified_root(report)
