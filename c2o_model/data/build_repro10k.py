"""Repro-10k as files: the annotations of the draw and a manifest that says, with digests, what it is and came from.

    python -m c2o_model.data.build_repro10k data/repro10k_annotations
    python -m c2o_model.data.build_repro10k data/repro10k_annotations --check

writes train.json, val.json (COCO JSONs whose file names are relative to COCO's train2017 and val2017; no image is
copied) and manifest.json: the rule of the draw, the digests of COCO's own files, and of each split the counts, the image
ids and the digest of every image. All of it depends on COCO and the rule alone, so two people with COCO get the same
bytes: compare the printed digest. For a copy with the images use a data configuration of ``kind: named``
(docs/recipes.md).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from c2o_model.data.errors import DataError
from c2o_model.data.manifest import FileEntry, hash_file, list_digest
from c2o_model.data.public_sets import PUBLIC, datasets_root
from c2o_model.data.repro10k import CLASSES, IMAGES, repro10k_document

SCHEMA = "c2o-repro10k-1"
MANIFEST = "manifest.json"
RULE = (
    "Images with at least one object, not a crowd, of the classes; ordered by the SHA-256, as hexadecimal text, of the "
    "image id in decimal ASCII; the first of them, at most so many. Objects of the classes stay, crowds too, with new "
    "category ids in the order of the classes from 1. Images and objects are in the order of the source."
)
USER_ERROR, DIFFERENT = 2, 1
Progress = Callable[[str, int, int], None]


def build(root: Path, most: int = IMAGES, progress: Progress = lambda *_: None) -> dict[str, bytes]:
    """The files of the set, by name, from COCO below ``root`` ($DETECTRON2_DATASETS).

    Args:
        most: images of a split.
        progress: called with split, images digested and images in all.

    Raises:
        DataError: a file of COCO is missing or corrupt.
    """
    files: dict[str, bytes] = {}
    splits = {}
    for split in ("train", "val"):
        place = PUBLIC[f"repro10k_{split}"]
        annotation, images = root / place.annotation, root / place.images
        document = repro10k_document(annotation, images, most)
        files[f"{split}.json"] = _json(document)
        splits[split] = {
            "annotation": f"{split}.json",
            "sha256": hashlib.sha256(files[f"{split}.json"]).hexdigest(),
            "source": {"annotation": place.annotation, **_entry(hash_file(annotation)), "images": place.images},
            **_counts(document),
            **_images(document, images, lambda done, of, split=split: progress(split, done, of)),  # type: ignore[misc]
        }
    rule = {"classes": list(CLASSES), "images": most, "text": RULE}
    files[MANIFEST] = _json({"schema": SCHEMA, "name": "repro10k", "rule": rule, "splits": splits}, indent=1)
    return files


def write(files: dict[str, bytes], out: Path) -> None:
    """Make the directory ``out`` with the files, whole or not at all. Equal files that are there are left.

    Raises:
        DataError: something else is there, or it cannot be written.
    """
    if out.exists():
        if differences(files, out):
            raise DataError(out, "is there already and holds something else", "move it away, or see --check")
        return
    partial: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        for name, data in files.items():
            (partial / name).write_bytes(data)
        os.chmod(partial, 0o755)
        os.rename(partial, out)
    except OSError as error:
        raise DataError(out, f"cannot be written ({error.strerror})", "make room, or choose another place") from None
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def differences(files: dict[str, bytes], out: Path) -> list[str]:
    """What in ``out`` is not as in ``files``: "NAME is missing" / "has other bytes" / "does not belong here"."""
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    found = [f"{name} is missing" for name in files if name not in there]
    found += [f"{name} has other bytes" for name in files if name in there and (out / name).read_bytes() != files[name]]
    return sorted(found + [f"{name} does not belong here" for name in there - set(files)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, 1 where --check finds a difference, or 2 with a message on stderr."""
    args = _parser().parse_args(argv)
    try:
        files = build(datasets_root(os.environ), progress=_tell)
        manifest = hashlib.sha256(files[MANIFEST]).hexdigest()
        if args.check:
            found = differences(files, args.out)
            print(
                "\n".join(f"{args.out / fault.partition(' ')[0]}: {fault.partition(' ')[2]}" for fault in found), end=""
            )
            print("" if found else f"{args.out}: as COCO and the rule give it; {MANIFEST} has sha256 {manifest}")
            return DIFFERENT if found else 0
        write(files, args.out)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    for split, summary in json.loads(files[MANIFEST])["splits"].items():
        per_class = ", ".join(f"{name} {count:,}" for name, count in summary["per_class"].items())
        print(f"{split}: {summary['images']:,} images, {summary['objects']:,} objects ({per_class})")
    print(f"{args.out / MANIFEST}: sha256 {manifest}")
    return 0


def _counts(document: dict[str, Any]) -> dict[str, Any]:
    names = {record["id"]: record["name"] for record in document["categories"]}
    objects = Counter(names[record["category_id"]] for record in document["annotations"] if not record["iscrowd"])
    return {
        "images": len(document["images"]),
        "objects": sum(objects.values()),
        "crowds": len(document["annotations"]) - sum(objects.values()),
        "per_class": {name: objects[name] for name in names.values()},
    }


def _images(document: dict[str, Any], images: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Ids and digests of the drawn images, in the order of ids."""
    listed, entries = {}, {}
    records = sorted(document["images"], key=lambda record: record["id"])
    for number, record in enumerate(records, start=1):
        path = images / record["file_name"]
        try:
            entry = hash_file(path)
        except OSError:
            raise DataError(path, "is missing", "put COCO's images there (docs/datasets.md)") from None
        listed[str(record["id"])] = {"file": record["file_name"], **_entry(entry)}
        entries[record["file_name"]] = entry
        progress(number, len(records))
    return {
        "image_ids": [record["id"] for record in records],
        "images_sha256": list_digest(entries),
        "files": listed,
    }


def _entry(entry: FileEntry) -> dict[str, Any]:
    return {"bytes": entry.bytes, "sha256": entry.sha256}


def _json(document: Any, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    return (json.dumps(document, sort_keys=True, indent=indent, separators=separators) + "\n").encode()


def _tell(split: str, done: int, of: int) -> None:
    if done % 1000 == 0 or done == of:
        print(f"{split}: digests of {done:,} of {of:,} images", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.data.build_repro10k",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the directory to make")
    parser.add_argument("--check", action="store_true", help="write nothing: is OUT what COCO here gives? (exit 1: no)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
