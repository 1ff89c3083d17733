"""The gallery against the bundle: its pictures are those of the rule, the denoising ends in the stored detections.

Which pictures there are follows from the annotations, their digests from the data manifest, seeds and rows from the
suite. The states before the last step and the attention's weights need the model: they are bound by their digests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.annotations import read_annotations
from c2o_evidence.errors import EvidenceError
from c2o_evidence.gallery import GALLERY, read_gallery, read_picture
from c2o_evidence.limits import MAX_DATA_MANIFEST
from c2o_evidence.records import Record
from c2o_evidence.suite import Suite
from c2o_evidence.suite_gallery import GallerySpec
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import DATA
from c2o_evidence.verify.runs import read_json

Scene = dict[str, Any]


def check_gallery(
    root: Path, suite: Suite, digests: Mapping[str, str], records: Mapping[str, Record]
) -> tuple[list[Finding], list[str]]:
    """Findings in the gallery, and notes on what could not be compared; nothing where the suite asks for none."""
    spec = suite.gallery
    if spec is None or GALLERY not in digests:
        return [], []
    try:
        document = read_gallery(root)
    except EvidenceError as error:
        return [Finding("malformed", GALLERY, str(error).replace(f"{root}/", ""))], []
    wanted = {"rows": list(spec.rows), "train_seed": suite.train_seeds[0], "eval_seed": suite.eval_seeds[0]}
    findings = [_edited(key, value, document[key]) for key, value in wanted.items() if document[key] != value]
    findings += _pictures(root, document, digests)
    if images := _annotated(root, digests):
        findings += _choice(document, spec, images, _data_files(root, digests))
    if findings:
        return findings, []
    found, notes = _detections(root, suite, document, records)
    copied = sum(picture["sha256"] == picture["source_sha256"] for picture in document["images"])
    if copied < len(document["images"]) and suite.data_config.get("kind") == "digits":
        found.append(Finding("stale", GALLERY, "pictures are not those of the data set", column="sha256"))
    elif copied < len(document["images"]):
        others = len(document["images"]) - copied
        notes.append(f"gallery: {others} pictures are copies in another format, bound by their own digests alone")
    return found, notes


def _edited(column: str, expected: Any, found: Any, row: str = "") -> Finding:
    message = "does not follow from suite, data set and rule of the gallery"
    return Finding("row-edited", GALLERY, message, row, column, str(expected), str(found))


def _pictures(root: Path, document: Scene, digests: Mapping[str, str]) -> Iterator[Finding]:
    for number, picture in enumerate(document["images"]):
        name, row = f"gallery/{picture['file']}", f"images[{number}]"
        if name not in digests:
            continue  # named where the files are counted
        if digests[name] != picture["sha256"]:
            message = f"is not the digest of {name}"
            yield Finding("stale", GALLERY, message, row, "sha256", digests[name], picture["sha256"])
        try:
            read_picture(root / name, picture["width"], picture["height"])
        except EvidenceError as error:
            yield Finding("unsafe", name, str(error).replace(f"{root}/", ""))


def _annotated(root: Path, digests: Mapping[str, str]) -> dict[int, Scene] | None:
    """Images of val by id with `file_name`, `width`, `height` and how many `objects` they have; None if unreadable."""
    if "data/val.json" not in digests:
        return None
    try:
        document = read_annotations(root / "data" / "val.json")
    except EvidenceError:
        return None  # named where AP is recomputed
    objects = Counter(item["image_id"] for item in document["annotations"] if not item.get("iscrowd", 0))
    return {
        image["id"]: {key: image.get(key) for key in ("file_name", "width", "height")}
        | {"objects": objects[image["id"]]}
        for image in document["images"]
    }


def _data_files(root: Path, digests: Mapping[str, str]) -> Mapping[str, Any]:
    files = (read_json(root / DATA, MAX_DATA_MANIFEST) or {}).get("files") if DATA in digests else None
    return files if isinstance(files, dict) else {}


def _choice(
    document: Scene, spec: GallerySpec, images: Mapping[int, Scene], files: Mapping[str, Any]
) -> Iterator[Finding]:
    """Findings where the pictures, or the one whose denoising is shown, are not those that the rule gives."""
    ids, count = sorted(images), spec.images
    chosen = [ids[(2 * number + 1) * len(ids) // (2 * count)] for number in range(count)]
    found = [picture["image_id"] for picture in document["images"]]
    if found != chosen:
        yield _edited("image_id", chosen, found, "images")
        return
    for number, (picture, image) in enumerate(zip(document["images"], map(images.__getitem__, chosen), strict=True)):
        entry = files.get(str(image["file_name"]))
        listed = (
            entry.get("sha256") if isinstance(entry, dict) else picture["source_sha256"]
        )  # a bundle's list may be cut
        wanted = {"file": f"images/{number}.png", "source": image["file_name"], "source_sha256": listed}
        wanted |= {"width": image["width"], "height": image["height"]}
        for column, value in wanted.items():
            if picture[column] != value:
                yield _edited(column, value, picture[column], f"images[{number}]")
    shown = max(chosen, key=lambda image_id: images[image_id]["objects"])
    for part, exp_id in (("filmstrip", spec.rows[0]), ("attention", spec.rows[-1])):
        if document[part] is not None:
            for column, value in (("exp_id", exp_id), ("image_id", shown)):
                if document[part][column] != value:
                    yield _edited(column, value, document[part][column], part)


def _detections(
    root: Path, suite: Suite, document: Scene, records: Mapping[str, Record]
) -> tuple[list[Finding], list[str]]:
    """Whether denoising and attention show what the rows detect, where one machine made both."""
    findings, notes, steps = [], [], document["filmstrip"]["steps"]
    count = suite.row(document["rows"][0]).sample_step
    if [step["step"] for step in steps] != list(range(1, count + 1)):
        findings.append(_edited("step", f"1 to {count}", [step["step"] for step in steps], "filmstrip.steps"))
    if any(one["time"] <= next_one["time"] for one, next_one in zip(steps, steps[1:], strict=False)):
        findings.append(_edited("time", "falling", [step["time"] for step in steps], "filmstrip.steps"))
    last, attention = steps[-1], document["attention"]
    shown = [(document["filmstrip"], _listed(last, "boxes"), "the last step", True)]
    shown += [(attention, _listed(attention, "nodes"), "attention", False)] if attention is not None else []
    for part, boxes, what, whole in shown:
        row = suite.row(part["exp_id"])
        folder = f"eval/{row.experiment}/seed{suite.seed_of(row.experiment, document['train_seed'])}"
        if reason := _other_machine(records.get("gallery/record.json"), records.get(f"{folder}/record.json")):
            notes.append(f"gallery: {what} was not compared with {folder}: {reason}")
            continue
        stored = _stored(
            root, f"{folder}/detections.safetensors", (row.exp_id, document["eval_seed"]), part["image_id"]
        )
        if stored is not None and (boxes != stored if whole else not set(boxes) <= set(stored)):
            message = f"{what} does not show what {folder}/detections.safetensors has of this picture"
            findings.append(Finding("stale", GALLERY, message, f"exp_id={row.exp_id}, image_id={part['image_id']}"))
    return findings, notes


def _other_machine(gallery: Record | None, evaluation: Record | None) -> str:
    """Why the last bits may differ; empty where they may not."""
    if gallery is None or evaluation is None:
        return "a record of them cannot be read"
    if gallery.nondeterminism or evaluation.nondeterminism:
        return "not deterministic there"
    return "" if gallery.host["hardware_id"] == evaluation.host["hardware_id"] else "made on another machine"


def _listed(part: Scene, boxes: str) -> list[tuple[float, ...]]:
    """Each box with its score and class, in float32, as detections are stored."""
    import numpy as np

    if not part[boxes]:
        return []
    numbers = np.column_stack([part[boxes], part["scores"]]).astype(np.float32).tolist()
    return [(*row, label) for row, label in zip(numbers, part["classes"], strict=True)]


def _stored(root: Path, path: str, run: tuple[str, int], image_id: int) -> list[tuple[float, ...]] | None:
    """What the run has detected in a picture; None where that cannot be read, which is named elsewhere."""
    from c2o_evidence.detections import read_detections

    try:
        found = read_detections(root / path)[run]
    except (EvidenceError, OSError, KeyError):
        return None
    mine = found.image_id == image_id
    rows = zip(found.box[mine].tolist(), found.score[mine].tolist(), found.label[mine].tolist(), strict=True)
    return [(*box, score, label) for box, score, label in rows]
