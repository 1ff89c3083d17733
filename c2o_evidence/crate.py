"""RO-Crate metadata of a bundle: what the files are, their digests, and the run that made them.

Follows RO-Crate 1.1 with the terms of the Workflow Run profile: the resolved suite is the workflow, a
CreateAction has the data as `object` and the results as `result`. Written in a fixed order, without absolute
paths; the only dates are those of the records, so one set of results gives one text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2o_evidence import __version__
from c2o_evidence.atomic import atomic_write
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_RECORD
from c2o_evidence.plain_file import read_plain
from c2o_evidence.suite import Suite
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.files import hash_files, walk

CRATE_NAME = "ro-crate-metadata.json"
MEDIA_TYPES = {
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".html": "text/html",
    ".py": "text/x-python",
    ".txt": "text/plain",
    ".sha256": "text/plain",
    ".safetensors": "application/octet-stream",
}


def _times(bundle: Path) -> tuple[str, str]:
    """Start of the first and end of the last record, as they are written; empty without records."""
    starts, ends = [], []
    for path in sorted(bundle.rglob("record.json")):
        try:
            record = parse_json(read_plain(path, MAX_RECORD))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            starts.append(str(record.get("started", "")))
            ends.append(str(record.get("ended", "")))
    return min(filter(None, starts), default=""), max(filter(None, ends), default="")


def crate_document(bundle: Path, suite: Suite) -> dict[str, Any]:
    """The metadata as plain data, entities sorted by `@id`."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    started, ended = _times(bundle)
    crate = ROCrate()
    crate.name = suite.title or suite.name
    crate.description = suite.description or f"Results of the suite {suite.name}, with the evidence for every number."
    # RO-Crate asks for a date; the end of the last job is one that a rebuild of the bundle does not change.
    crate.datePublished = ended or "1970-01-01"
    crate.root_dataset["identifier"] = suite.name
    files: dict[str, Any] = {}
    sizes = walk(bundle).files
    for name in (SUMS_NAME, CRATE_NAME):
        sizes.pop(name, None)
    digests, _ = hash_files(bundle, sizes)
    for path in sorted(digests):
        properties = {
            "name": path,
            "sha256": digests[path],
            "contentSize": str(sizes[path]),
            "encodingFormat": MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream"),
        }
        if path == "suite.yaml":
            properties["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]  # type: ignore[assignment]
        files[path] = crate.add_file(dest_path=path, properties=properties)
    crate.root_dataset["mainEntity"] = files.get("suite.yaml")
    tool = ContextEntity(crate, "#c2o", {"@type": "SoftwareApplication", "name": "C2O", "softwareVersion": __version__})
    crate.add(tool)
    action = ContextEntity(
        crate,
        "#run",
        {
            "@type": "CreateAction",
            "name": f"Training and evaluation of {suite.name}",
            **({"startTime": started} if started else {}),
            **({"endTime": ended} if ended else {}),
        },
    )
    crate.add(action)
    action["instrument"] = files.get("suite.yaml") or tool
    action["agent"] = tool
    inputs = [path for path in files if path.startswith(("data/", "environment/"))]
    outputs = [path for path in files if path.startswith(("train/", "eval/", "timing/", "attention/", "tables/"))]
    action["object"] = [files[path] for path in inputs]
    action["result"] = [files[path] for path in outputs]
    crate.root_dataset["mentions"] = [action]
    document: dict[str, Any] = crate.metadata.generate()
    document["@graph"] = sorted((_sorted_references(entity) for entity in document["@graph"]), key=lambda e: e["@id"])
    return document


def _sorted_references(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity with its keys, and lists of references, in a fixed order."""

    def order(value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(item, dict) and "@id" in item for item in value):
            return sorted(value, key=lambda item: str(item["@id"]))
        return value

    return {key: order(entity[key]) for key in sorted(entity)}


def write_crate(bundle: Path, suite: Suite) -> None:
    """Writes `ro-crate-metadata.json` for the files that are in the bundle now."""
    text = json.dumps(crate_document(bundle, suite), indent=2, ensure_ascii=False) + "\n"
    atomic_write(bundle / CRATE_NAME, text)
