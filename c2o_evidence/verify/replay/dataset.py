"""The data set of a replay: the checkout's, if it is the bundle's to the byte, or made in the room by the data rule."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.suite import Suite
from c2o_evidence.verify.files import hash_files
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import DATA
from c2o_evidence.verify.replay.source import Source

MADE = ("digits",)  # kinds that need nothing but an installed package


def data_config_path(suite: Suite) -> str:
    return f"configs/data/{suite.data_name}.yaml"


def data_dir(suite: Suite) -> str:
    return f"data/{suite.data_name}"


def place_data(room: Path, checkout: Path, source: Source) -> None:
    """Put the checkout's data set into the room, if it is the bundle's; else leave it to be made there.

    Files are hard links where the file system allows, and hashed in the room; nothing there writes to them.

    Raises:
        EvidenceError: it is not there and cannot be made; what was wrong and what to put where.
    """
    name = data_dir(source.suite)
    fault = _take(room / name, checkout / name, source)
    if fault is None:
        return
    shutil.rmtree(room / name, ignore_errors=True)
    if source.suite.data_config.get("kind") not in MADE:
        raise EvidenceError(
            f"{name}: {fault}; the replay needs the data set of the bundle, {len(source.data_files())} files as "
            f"{source.root / DATA} lists them: put it there (see docs/datasets.md) and type the command again"
        )


def _take(target: Path, local: Path, source: Source) -> str | None:
    """What keeps the local data set from being used; None where it lies in the room now."""
    wanted = source.digests[DATA]
    if not (local / "manifest.json").is_file():
        return "is not in this checkout"
    if sha256_file(local / "manifest.json") != wanted:
        return "is another one in this checkout: its manifest.json is not the bundle's"
    files = source.data_files()
    for path in files:
        if not (local / path).is_file():
            return f"lacks {path}"
        _link_or_copy(local / path, target / path)
    found, errors = hash_files(target, {path: size for path, (size, _) in files.items()})
    for path, (_, digest) in files.items():
        if path in errors or found[path] != digest:
            return f"{path} is not the file that the manifest lists"
    source.copy(DATA, target / "manifest.json")
    return None


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_symlink():
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, target)


def made_data_finding(room: Path, source: Source) -> Finding | None:
    """A finding where the data set in the room is not the bundle's (or could not be made)."""
    made = room / data_dir(source.suite) / "manifest.json"
    wanted = source.digests[DATA]
    if not made.is_file():
        return Finding("not-replayed", DATA, "the data set could not be made again", expected=wanted)
    found = sha256_file(made)
    if found != wanted:
        message = "the data set that is made here is another one"
        return Finding("not-reproduced", DATA, message, column="sha256", expected=wanted, found=found)
    return None
