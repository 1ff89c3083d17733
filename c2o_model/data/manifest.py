"""The data manifest: the digest of every file of a data directory, of each split and of the whole.

`manifest.json` lies at the root of the directory it describes and lists every other file there:

    {"schema": 1, "name": …, "config": {…}, "sha256": WHOLE,
     "splits": {SPLIT: {"annotation": "SPLIT.json", "sha256": …, "images": n, "objects": n, "per_class": {…},
                        "per_size": {"small": n, "medium": n, "large": n}, "plates": n, "degraded": n}},
     "files": {RELATIVE PATH: {"bytes": n, "sha256": …}}}

WHOLE and the split digests are the SHA-256 of the lines "DIGEST  PATH\\n" sorted by path, in UTF-8: what
`sha256sum` prints for those files. Nothing in it depends on time, host or place.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from c2o_model.data.errors import DataError

SCHEMA = 1
NAME = "manifest.json"
# COCO's size classes by area in px: small < 32^2 <= medium < 96^2 <= large.
SMALL, MEDIUM = 32 * 32, 96 * 96


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class DataManifest:
    """A parsed manifest and the directory it belongs to."""

    root: Path
    name: str
    config: Mapping[str, Any]
    sha256: str
    splits: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, FileEntry]

    def annotation(self, split: str) -> Path:
        """The COCO JSON of `split`; DataError names the splits there are."""
        if split not in self.splits:
            have = ", ".join(sorted(self.splits))
            raise DataError(self.root / NAME, f"has no split {split!r}", f"use one of {have}")
        return self.root / str(self.splits[split]["annotation"])

    def check(self, path: Path) -> None:
        """Raise DataError unless `path` is listed and has its size and digest."""
        relative = Path(os.path.relpath(path, self.root)).as_posix()
        if relative not in self.files:
            raise DataError(path, f"is not listed in {self.root / NAME}", "generate the set again")
        check_file(path, self.files[relative])

    def verify(self) -> None:
        """Raise DataError at the first file that is missing, changed or extra; links count as extra."""
        found = set(list_files(self.root))
        for relative in sorted(set(self.files) - found):
            raise DataError(self.root / relative, "is missing", "generate the set again")
        for relative in sorted(found - set(self.files)):
            raise DataError(self.root / relative, f"is not listed in {NAME}", "move it away")
        for relative, entry in self.files.items():
            check_file(self.root / relative, entry)


def check_file(path: Path, entry: FileEntry) -> None:
    """Raise DataError unless the file has the size and digest of `entry`."""
    try:
        found = hash_file(path)
    except FileNotFoundError:
        raise DataError(path, "is missing", "generate or copy the set again") from None
    if found != entry:
        raise DataError(
            path,
            f"has changed: expected sha256 {entry.sha256} ({entry.bytes} bytes),"
            f" found {found.sha256} ({found.bytes} bytes)",
            "generate or copy the set again",
        )


def hash_file(path: Path) -> FileEntry:
    """Size and digest of a file, read in one stream."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileEntry(stream.tell(), digest)


def list_files(root: Path) -> list[str]:
    """Every file and link below `root` but the manifest at the top: POSIX paths relative to it, sorted.

    Names that begin with a dot belong to tools (desktop, workflow engine), not to the set: passed over.
    """
    found = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in (*names, *links)]
    return sorted(path for path in found if path != NAME and not PurePosixPath(path).name.startswith("."))


def list_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 of the `sha256sum` lines of `files`, sorted by path."""
    lines = "".join(f"{files[path].sha256}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _split_summary(root: Path, annotation: str, files: Mapping[str, FileEntry]) -> dict[str, Any]:
    """Digest and counts of one split, read from its COCO JSON."""
    coco = json.loads((root / annotation).read_bytes())
    members = {annotation, *(image["file_name"] for image in coco["images"])}
    names = {category["id"]: category["name"] for category in coco["categories"]}
    per_class = Counter(names[item["category_id"]] for item in coco["annotations"])
    sizes = Counter(
        "small" if item["area"] < SMALL else "medium" if item["area"] < MEDIUM else "large"
        for item in coco["annotations"]
    )
    return {
        "annotation": annotation,
        "sha256": list_digest({path: files[path] for path in members}),
        "images": len(coco["images"]),
        "objects": len(coco["annotations"]),
        "per_class": {name: per_class[name] for name in names.values()},
        "per_size": {size: sizes[size] for size in ("small", "medium", "large")},
        "plates": len({item["image_id"] for item in coco["annotations"] if item.get("plate")}),
        "degraded": sum(1 for item in coco["annotations"] if item.get("degraded")),
    }


def build(root: Path, name: str, config: Mapping[str, Any], splits: Iterable[str]) -> DataManifest:
    """Hash everything below `root`, whose splits are `SPLIT.json` with file names relative to `root`."""
    files = {path: hash_file(root / path) for path in list_files(root)}
    summaries = {split: _split_summary(root, f"{split}.json", files) for split in splits}
    return DataManifest(root, name, dict(config), list_digest(files), summaries, files)


def write(manifest: DataManifest) -> Path:
    """Write `manifest` to its place: sorted keys, one space of indent, LF; atomically. Returns the path."""
    document = {
        "schema": SCHEMA,
        "name": manifest.name,
        "config": manifest.config,
        "sha256": manifest.sha256,
        "splits": manifest.splits,
        "files": {path: {"bytes": e.bytes, "sha256": e.sha256} for path, e in manifest.files.items()},
    }
    path = manifest.root / NAME
    handle, temporary = tempfile.mkstemp(dir=manifest.root, prefix=f".{NAME}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(json.dumps(document, sort_keys=True, indent=1) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def read(root: Path) -> DataManifest:
    """The manifest of the data directory `root`.

    Raises DataError when it is missing, is not a manifest of this schema, contradicts itself (the whole
    digest is not that of its list), or lists a path that leaves the directory. The files themselves are not
    read: see `verify`.
    """
    path = root / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "is missing", "generate the set first (`make data`)") from None
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON ({error})", "generate the set again") from None
    try:
        if document["schema"] != SCHEMA:
            raise DataError(
                path, f"schema {document['schema']!r} is not {SCHEMA}", "use the version that wrote it"
            )
        files = {
            str(name): FileEntry(int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in document["files"].items()
        }
        manifest = DataManifest(
            root,
            str(document["name"]),
            dict(document["config"]),
            str(document["sha256"]),
            dict(document["splits"]),
            files,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise DataError(path, f"is not a data manifest ({what})", "generate the set again") from None
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise DataError(path, f"files: {name!r} leaves the directory", "do not use this manifest")
    if list_digest(files) != manifest.sha256:
        raise DataError(
            path, f"sha256: {manifest.sha256} is not the digest of its own list ({list_digest(files)})",
            "it was edited: generate the set again",
        )  # fmt: skip
    return manifest
