"""Records: the small JSON a rule writes last, with materials and products by digest, as an in-toto link has
them.

A path in a record is relative to `results/SUITE` (base `suite`, the bundle root once frozen) where the file
lies there, else to the repository (base `repository`). A record holds times and a host, so it is not
byte-stable; what it names is.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from c2o_evidence.atomic import atomic_write
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import RecordError
from c2o_evidence.hardware import fingerprint
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_RECORD
from c2o_evidence.paths import path_fault
from c2o_evidence.plain_file import read_plain
from c2o_evidence.schemas import key_text, schema_faults
from c2o_evidence.suite_stack import title_of

SCHEMA = "c2o-record/1"
TIME = "%Y-%m-%dT%H:%M:%SZ"
TOOLS = (
    *("detectron2", "fonttools", "matplotlib", "numpy", "pillow", "pycocotools", "safetensors", "snakemake"),
    *("torch", "torchvision"),
)
# Detectron2 comes under several distribution names.
_ALIASES = {"detectron2": ("detectron2", "sal-detectron2")}


@dataclass(frozen=True)
class RecordedFile:
    """A file a rule read or wrote: where it was, and its digest and size then."""

    name: str
    base: Literal["suite", "repository"]
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Record:
    """A record as read; see workflow/schemas/record.schema.json for the fields."""

    rule: str
    materials: tuple[RecordedFile, ...]
    products: tuple[RecordedFile, ...]
    parameters: Mapping[str, Any]
    code_sha256: str
    lock_sha256: str
    tools: Mapping[str, str | None]
    host: Mapping[str, Any]
    started: str
    ended: str
    nondeterminism: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Wall time of the job."""
        return (datetime.strptime(self.ended, TIME) - datetime.strptime(self.started, TIME)).total_seconds()

    def sampled_by(self, exp_id: str) -> str:
        """The stack that sampled a row, with the versions at work, in words; empty for a row of the core."""
        said = self.parameters.get("stacks")
        for stack, told in said.items() if isinstance(said, dict) else ():
            rows = told.get("rows") if isinstance(told, dict) else None
            if isinstance(rows, list) and exp_id in rows:
                versions = told.get("versions")
                shown = [f"{k} {v}" for k, v in versions.items()] if isinstance(versions, dict) else []
                return f"{title_of(stack)} ({', '.join(shown) or 'no version told'})"
        return ""

    def product(self, name: str) -> RecordedFile:
        """The product of that name.

        Raises:
            RecordError: there is none.
        """
        return _named(self.products, name, f"record of {self.rule}")

    def material(self, name: str) -> RecordedFile:
        """The material of that name.

        Raises:
            RecordError: there is none.
        """
        return _named(self.materials, name, f"record of {self.rule}")


def utc_now() -> str:
    """The time as records hold it: UTC, whole seconds, `2024-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime(TIME)


def write_record(
    path: Path | str,
    *,
    rule: str,
    inputs: Mapping[str, Path | str],
    outputs: Mapping[str, Path | str],
    parameters: Mapping[str, Any],
    lock_sha256: str,
    code_sha256: str,
    started: str,
    suite_dir: Path | str,
    root: Path | str = ".",
    nondeterminism: Sequence[str] = (),
) -> Record:
    """Hash inputs and outputs and write the record of a finished job, atomically.

    Args:
        inputs, outputs: files by name. A directory cannot be recorded: record its manifest.
        parameters: JSON values; nothing of time, host or absolute path.
        started: `utc_now()` at the job's begin; the end is now.
        suite_dir: `results/SUITE`.
        root: the repository; every file lies below one of the two.
        nondeterminism: operations that need not give the same bits twice.

    Raises:
        RecordError: a file lies elsewhere or is a directory; a value breaks the schema.
        DigestError: a file is missing.
    """
    bases = {"suite": Path(suite_dir).resolve(), "repository": Path(root).resolve()}
    hardware = fingerprint()
    document = {
        "schema": SCHEMA,
        "rule": rule,
        "materials": [_describe(path, name, file, bases) for name, file in sorted(inputs.items())],
        "products": [_describe(path, name, file, bases) for name, file in sorted(outputs.items())],
        "parameters": dict(parameters),
        "code_sha256": code_sha256,
        "lock_sha256": lock_sha256,
        "tools": {"python": platform.python_version(), **{name: _version(name) for name in TOOLS}},
        "host": {"name": platform.node(), "hardware_id": hardware["id"], "hardware": hardware},
        "started": started,
        "ended": utc_now(),
        "nondeterminism": list(nondeterminism),
    }
    record = _checked(document, str(path))
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"{path}: parameters: cannot be written as JSON: {error}; use text and finite numbers"
        ) from None
    atomic_write(path, text + "\n")
    return record


def read_record(path: Path | str) -> Record:
    """Read and check a record. The files it names are not touched.

    Raises:
        RecordError: it cannot be read, is of an unknown schema version, or breaks the schema.
    """
    try:
        data = read_plain(path, MAX_RECORD)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}; run the rule again") from error
    return parse_record(data, str(path))


def parse_record(data: bytes, name: str) -> Record:
    """The record in a file's content; `name`: how messages call it. Raises RecordError as `read_record`."""
    try:
        document = parse_json(data)
    except ValueError as error:
        raise RecordError(f"{name}: is not JSON: {error}; restore the file") from None
    return _checked(document, name)


def _checked(document: Any, path: str) -> Record:
    if not isinstance(document, dict):
        raise RecordError(f"{path}: is not a mapping; this is no record")
    version = document.get("schema")
    if version != SCHEMA:
        raise RecordError(f"{path}: schema: {version!r} is unknown to this release, which reads {SCHEMA!r}; update C2O")
    for fault in schema_faults(document, "record"):
        raise RecordError(f"{path}: {key_text(fault.where)}: {fault.what}")
    for key in ("started", "ended"):
        try:
            datetime.strptime(document[key], TIME)
        except ValueError:  # the schema knows the shape of a time, not the calendar
            raise RecordError(f"{path}: {key}: {document[key]!r} is no time; restore the file") from None
    files = {kind: tuple(RecordedFile(**entry) for entry in document[kind]) for kind in ("materials", "products")}
    for kind, entries in files.items():
        names: set[str] = set()
        for index, entry in enumerate(entries):
            if fault_text := path_fault(entry.path):
                raise RecordError(f"{path}: {kind}[{index}].path: {entry.path!r}: {fault_text}")
            if entry.name in names:
                raise RecordError(f"{path}: {kind}[{index}].name: {entry.name!r} is there twice; names are unique")
            names.add(entry.name)
    rest = {key: value for key, value in document.items() if key not in ("schema", "materials", "products")}
    rest["nondeterminism"] = tuple(rest["nondeterminism"])
    return Record(materials=files["materials"], products=files["products"], **rest)


def _describe(record: Path | str, name: str, file: Path | str, bases: Mapping[str, Path]) -> dict[str, Any]:
    path = Path(file)
    place = path.resolve()
    if place.is_dir():
        raise RecordError(f"{record}: {name}: {file} is a directory; record the manifest of its files instead")
    for base, folder in bases.items():
        if place.is_relative_to(folder):
            relative = place.relative_to(folder).as_posix()
            digest = sha256_file(place)
            return {
                "name": name,
                "base": base,
                "path": relative,
                "sha256": digest,
                "bytes": place.stat().st_size,
            }
    raise RecordError(f"{record}: {name}: {file} is outside the repository; copy or link it into it")


def _named(files: Sequence[RecordedFile], name: str, where: str) -> RecordedFile:
    for entry in files:
        if entry.name == name:
            return entry
    raise RecordError(
        f"{where}: no file is named {name!r}; known: {', '.join(entry.name for entry in files) or 'none'}"
    )


def _version(name: str) -> str | None:
    for alias in _ALIASES.get(name, (name,)):
        try:
            return metadata.version(alias)
        except metadata.PackageNotFoundError:
            continue
    return None
