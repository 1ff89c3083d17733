"""RO-Crate metadata of a bundle: what the files are, their digests, and the run that made them.

A Workflow Run RO-Crate (profiles Process Run Crate 0.5, Workflow Run Crate 0.5, Workflow RO-Crate 1.0 on RO-Crate 1.1):
the resolved suite is the workflow with its seeds, steps and data as parameters; a CreateAction has their values and the
data as `object` and the results as `result`. Written in a fixed order, without absolute paths; the only dates are those
of the records, so one set of results gives one text. Who ran it is not in the evidence, so no `agent` or `author` is
named: what makes a person answerable is a signature (docs/signatures.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".html": "text/html",
    ".py": "text/x-python",
    ".txt": "text/plain",
    ".sha256": "text/plain",
    ".safetensors": "application/octet-stream",
}
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
# Not in RO-Crate 1.1's own context; the Workflow Run profiles define it.
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
LICENCE = "https://spdx.org/licenses/Apache-2.0"


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
    return _offset(min(filter(None, starts), default="")), _offset(max(filter(None, ends), default=""))


def _offset(time: str) -> str:
    """A UTC time as the profiles want it: with +00:00, which records write as Z."""
    return f"{time[:-1]}+00:00" if time.endswith("Z") else time


def _references(names: Sequence[str]) -> list[dict[str, str]]:
    return [{"@id": name} for name in names]


def _parameters(suite: Suite) -> dict[str, tuple[str, list[int]]]:
    """What a user may choose in a suite: name -> (what it is, the values of this run)."""
    if not suite.rows:
        nodes = list(suite.attention.nodes) if suite.attention is not None else []
        return {"nodes": ("numbers of nodes that the attention kernels are timed with", nodes)}
    return {
        "train_seeds": ("seeds that decide the training trajectory", list(suite.train_seeds)),
        "eval_seeds": ("seeds that decide the sampling noise at inference alone", list(suite.eval_seeds)),
        "sample_steps": ("denoising steps at inference", sorted({row.sample_step for row in suite.rows})),
    }


def _contextual(suite: Suite, data: Sequence[str], main: str) -> Iterator[dict[str, Any]]:
    """Entities that are no files: profiles, licence, language, parameters and their values."""
    for name, (title, version) in PROFILES.items():
        yield {"@id": name, "@type": "CreativeWork", "name": title, "version": version}
    yield {
        "@id": LICENCE,
        "@type": "CreativeWork",
        "name": "Apache License 2.0",
        "description": "The licence of C2O and of what it writes. The data set keeps its own.",
    }
    yield {
        "@id": "#suite-language",
        "@type": "ComputerLanguage",
        "name": "C2O suite",
        "description": "YAML read by C2O, which runs it as a Snakemake workflow.",
        "url": {"@id": "https://snakemake.github.io/"},
    }
    yield {"@id": "#c2o", "@type": "SoftwareApplication", "name": "C2O", "softwareVersion": __version__}
    for name, (about, values) in _parameters(suite).items():
        yield {
            "@id": f"#parameter-{name}",
            "@type": "FormalParameter",
            "name": name,
            "description": about,
            "additionalType": "Integer",
            "multipleValues": "True",
            "valueRequired": "True",
            "conformsTo": {"@id": PARAMETER_PROFILE},
            "workExample": {"@id": f"#value-{name}"},
        }
        yield {
            "@id": f"#value-{name}",
            "@type": "PropertyValue",
            "name": name,
            "value": values,
            "exampleOfWork": {"@id": f"#parameter-{name}"},
        }
    if data:
        yield _file_parameter("dataset", "the data set: its manifest of digests, and the annotations", data)
    yield _file_parameter("results", "the table that the suite was run for", [main])


def _file_parameter(name: str, about: str, examples: Sequence[str]) -> dict[str, Any]:
    return {
        "@id": f"#parameter-{name}",
        "@type": "FormalParameter",
        "name": name,
        "description": about,
        "additionalType": "File",
        "valueRequired": "True",
        "conformsTo": {"@id": PARAMETER_PROFILE},
        "workExample": _references(examples),
    }


def crate_document(bundle: Path, suite: Suite) -> dict[str, Any]:
    """The metadata as plain data, entities sorted by `@id`."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    started, ended = _times(bundle)
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    root = crate.root_dataset
    crate.name = suite.title or suite.name
    crate.description = suite.description or f"Results of the suite {suite.name}, with the evidence for every number."
    # RO-Crate asks for a date; the end of the last job is one that a rebuild of the bundle does not change.
    crate.datePublished = ended or "1970-01-01"
    root["identifier"] = suite.name
    root["conformsTo"] = _references(list(PROFILES))
    root["license"] = {"@id": LICENCE}
    sizes = walk(bundle).files
    for name in (SUMS_NAME, CRATE_NAME):
        sizes.pop(name, None)
    digests, _ = hash_files(bundle, sizes)
    data = sorted(path for path in digests if path.startswith("data/"))
    main = "tables/summary.tsv" if suite.rows else "attention/attention.tsv"
    inputs = [path for path in digests if path.startswith(("data/", "environment/"))]
    made = ("train/", "eval/", "timing/", "attention/", "gallery/", "parity/", "tables/")
    outputs = [path for path in digests if path.startswith(made)]
    files: dict[str, Any] = {}
    for path in sorted(digests):
        properties: dict[str, Any] = {
            "name": path,
            "sha256": digests[path],
            "contentSize": str(sizes[path]),
            "encodingFormat": MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream"),
        }
        if path == "suite.yaml":
            properties["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
            properties["version"] = digests[path]
        if path == "README.md":
            properties["about"] = {"@id": "./"}
        if path in data:
            properties["exampleOfWork"] = {"@id": "#parameter-dataset"}
        elif path == main:
            properties["exampleOfWork"] = {"@id": "#parameter-results"}
        files[path] = crate.add_file(dest_path=path, properties=properties)
    for entity in _contextual(suite, data, main):
        name = entity.pop("@id")
        crate.add(ContextEntity(crate, name, entity))
    workflow = files.get("suite.yaml")
    if workflow is not None:
        names = [*_parameters(suite), *(["dataset"] if data else [])]
        workflow["conformsTo"] = {"@id": WORKFLOW_PROFILE}
        workflow["programmingLanguage"] = {"@id": "#suite-language"}
        workflow["license"] = {"@id": LICENCE}
        workflow["input"] = _references([f"#parameter-{name}" for name in names])
        workflow["output"] = _references(["#parameter-results"])
        root["mainEntity"] = workflow
    run = {
        "@type": "CreateAction",
        "name": f"Training and evaluation of {suite.name}",
        "description": "Every job of the suite; each left a record of what it read and wrote, with digests.",
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "instrument": {"@id": "suite.yaml" if workflow is not None else "#c2o"},
        "object": _references([*inputs, *(f"#value-{name}" for name in _parameters(suite))]),
        "result": _references(outputs),
        **({"startTime": started} if started else {}),
        **({"endTime": ended} if ended else {}),
    }
    crate.add(ContextEntity(crate, "#run", run))
    root["mentions"] = _references(["#run"])
    document: dict[str, Any] = crate.metadata.generate()
    for entity in document["@graph"]:
        if entity["@id"] == CRATE_NAME:
            entity["conformsTo"] = [entity["conformsTo"], {"@id": WORKFLOW_CRATE}]
    document["@graph"] = sorted((_sorted_references(entity) for entity in document["@graph"]), key=lambda e: e["@id"])
    return document


def _sorted_references(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity with its keys, and lists of references, in a fixed order; a list of one reference is that reference."""

    def order(value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(item, dict) and "@id" in item for item in value):
            return value[0] if len(value) == 1 else sorted(value, key=lambda item: str(item["@id"]))
        return value

    return {key: order(entity[key]) for key in sorted(entity)}


def write_crate(bundle: Path, suite: Suite) -> None:
    """Writes `ro-crate-metadata.json` for the files that are in the bundle now."""
    text = json.dumps(crate_document(bundle, suite), indent=2, ensure_ascii=False) + "\n"
    atomic_write(bundle / CRATE_NAME, text)
