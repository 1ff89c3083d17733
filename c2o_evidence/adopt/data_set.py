"""The data set of a suite: every file against its manifest, and the manifest against what training records name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from c2o_evidence.adopt.jobs import data_manifest
from c2o_evidence.adopt.layout import Layout
from c2o_evidence.code import code_digest
from c2o_evidence.errors import EvidenceError
from c2o_evidence.paths import path_fault
from c2o_evidence.records import read_record

SHOWN = 3


def _manifest(layout: Layout) -> dict[str, Any] | None:
    """The data manifest as far as it can be read; None if it cannot."""
    try:
        document = json.loads(layout.path(data_manifest(layout.suite)).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    usable = isinstance(document, dict) and isinstance(document.get("files"), dict)
    if not usable or any(path_fault(name) or not isinstance(e, dict) for name, e in document["files"].items()):
        return None
    return dict(document)


def data_files_of(layout: Layout) -> list[str]:
    """The files that the manifest lists; in a bundle those of them that a bundle holds."""
    document = _manifest(layout) if layout.suite.data_name else None
    names = [f"data/{layout.suite.data_name}/{name}" for name in (document or {"files": {}})["files"]]
    return names if layout.bundle is None else [name for name in names if layout.there(name)]


def check_data(layout: Layout) -> tuple[Literal["current", "stale", "unproven"], list[str]]:
    """`unproven`: it is whole, but no training of the present sources was made from it (a set has no record)."""
    name, document = data_manifest(layout.suite), _manifest(layout)
    if document is None:
        return "stale", [f"{name}: is no data manifest"]
    reasons = [*_configuration(layout, document), *_files(layout, document)]
    if len(reasons) > SHOWN:
        reasons = [*reasons[:SHOWN], f"… and {len(reasons) - SHOWN} more files"]
    if reasons:
        return "stale", reasons
    if not _vouched_for(layout, layout.digests[name]):
        return "unproven", [f"{name}: no training by the present sources names it"]
    return "current", []


def _configuration(layout: Layout, document: dict[str, Any]) -> Iterator[str]:
    asked, made = layout.suite.data_config, document.get("config")
    made = made if isinstance(made, dict) else {}
    for key, value in asked.items():
        if key in made and key != "description" and made[key] != value:
            yield f"configuration: {layout.suite.dataset}: {key}: was {made[key]!r}, now {value!r}"
    if "sha256" in asked and asked["sha256"] != document.get("sha256"):
        yield f"{data_manifest(layout.suite)}: sha256: expected {asked['sha256']}, found {document.get('sha256')}"


def _files(layout: Layout, document: dict[str, Any]) -> Iterator[str]:
    for file, entry in sorted(document["files"].items()):
        name = f"data/{layout.suite.data_name}/{file}"
        if name in layout.digests:
            if layout.digests[name] != entry.get("sha256"):
                yield f"{name}: sha256: expected {entry.get('sha256')}, found {layout.digests[name]}"
        elif layout.bundle is None:
            yield f"{name}: {layout.faults.get(name, 'is missing')}"


def _vouched_for(layout: Layout, digest: str) -> bool:
    """Whether the record of a training, of any suite, by the sources that are here now, has read this very manifest."""
    name, code = data_manifest(layout.suite), code_digest(layout.root, "train")
    folders = [layout.bundle] if layout.bundle is not None else sorted((layout.root / "results").glob("*"))
    for folder in folders:
        for path in sorted(folder.glob("train/*/seed*/record.json")):
            try:
                record = read_record(path)
            except EvidenceError:
                continue
            if record.code_sha256 == code and any(m.path == name and m.sha256 == digest for m in record.materials):
                return True
    return False
