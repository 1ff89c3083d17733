"""Detections drawn over pictures: the truth beside what each row found, one picture's denoising, one scene's attention.

Of a picture as many detections are drawn as it has objects (one where it has none), those with the best scores: no
score is a threshold, so rows whose scores mean different things can be compared. A detection counts as right as in
AP50: its class's unmatched object of highest IoU, at least 0.5, in the order of scores.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2o_evidence.detections import Detections, read_class_names, read_detections
from c2o_evidence.errors import EvidenceError
from c2o_evidence.gallery import GALLERY, read_gallery, read_picture
from c2o_evidence.report.source import Source
from c2o_evidence.report.truth import read_truth
from c2o_evidence.tables import text

Box = Sequence[float]
IOU = 0.5
MAX_SHOWN = 60  # boxes of one picture, one step or one scene
MAX_EDGES = 30


@dataclass(frozen=True)
class _Shown:
    box: Box
    name: str
    score: float
    right: bool


def gallery(source: Source) -> dict[str, Any] | None:
    """All that the page shows of `gallery/`; None where the results have none. Raises EvidenceError."""
    if not source.has(GALLERY) or source.data is None:
        return None
    document = read_gallery(source.base)
    truth = read_truth(source.data / "val.json", {image["image_id"] for image in document["images"]})
    found = {exp_id: _detections(source, document, exp_id) for exp_id in document["rows"]}
    pictures = []
    for image in document["images"]:
        objects = truth[image["image_id"]]
        panels = []
        for exp_id, (detections, class_names) in found.items():
            shown = _shown(detections, class_names, image["image_id"], objects)
            panels.append(
                {
                    "title": source.labels.get(exp_id, exp_id),
                    "exp_id": exp_id,
                    "evidence": source.anchor("row", exp_id),
                    "boxes": [_drawn(item, image) for item in shown],
                    "said": _said(shown, len(objects)),
                }
            )
        pictures.append(
            {
                "id": source.anchor("picture", str(image["image_id"])),
                "image_id": image["image_id"],
                "width": image["width"],
                "height": image["height"],
                "sha256": image["sha256"],
                "uri": "data:image/png;base64," + base64.b64encode(_picture(source, image)).decode("ascii"),
                "truth": [_drawn(_Shown(box, name, 1.0, True), image) for box, name in objects],
                "said": f"{_count(len(objects), 'object')}: {', '.join(name for _, name in objects) or 'none'}",
                "panels": panels,
            }
        )
    by_id = {picture["image_id"]: picture for picture in pictures}
    classes = next((names for _, names in found.values()), ())
    return {
        "pictures": pictures,
        "train_seed": document["train_seed"],
        "eval_seed": document["eval_seed"],
        "film": _film(source, document["filmstrip"], by_id, classes),
        "scene": _scene(source, document["attention"], by_id, classes),
    }


def _picture(source: Source, image: dict[str, Any]) -> bytes:
    return read_picture(source.base / "gallery" / image["file"], image["width"], image["height"])


def _detections(source: Source, document: dict[str, Any], exp_id: str) -> tuple[Detections, tuple[str, ...]]:
    experiment = source.suite.row(exp_id).experiment
    seed = source.suite.seed_of(experiment, document["train_seed"])
    path = source.base / "eval" / experiment / f"seed{seed}" / "detections.safetensors"
    runs = read_detections(path)
    key = (exp_id, document["eval_seed"])
    if key not in runs:
        raise EvidenceError(f"{path}: has no run {exp_id}/{key[1]}, which the gallery shows; make the gallery again")
    return runs[key], read_class_names(path)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2; 0 where both are empty.

    >>> iou((0, 0, 2, 2), (1, 0, 3, 2))  # 2 of 6
    0.3333333333333333
    """
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union if union > 0 else 0.0


def _shown(
    detections: Detections, names: Sequence[str], image_id: int, objects: Sequence[tuple[Box, str]]
) -> list[_Shown]:
    """The detections of a picture that are drawn, best first."""
    own = [index for index, found in enumerate(detections.image_id.tolist()) if found == image_id]
    own.sort(key=lambda index: -float(detections.score[index]))
    left = list(range(len(objects)))
    shown = []
    for index in own[: _drawn_of(len(objects))]:
        box = [float(side) for side in detections.box[index]]
        name = class_name(int(detections.label[index]), names)
        best = max((k for k in left if objects[k][1] == name), key=lambda k: iou(box, objects[k][0]), default=None)
        right = best is not None and iou(box, objects[best][0]) >= IOU
        if right and best is not None:
            left.remove(best)
        shown.append(_Shown(box, name, float(detections.score[index]), right))
    return shown


def _drawn_of(objects: int) -> int:
    """How many detections are drawn of a picture with so many objects."""
    return min(max(1, objects), MAX_SHOWN)


def class_name(label: int, names: Sequence[str]) -> str:
    """The name of a class by its index; the index where it has none."""
    return names[label] if label < len(names) else str(label)


def _said(shown: Sequence[_Shown], objects: int) -> str:
    right = sum(item.right for item in shown)
    wrong = len(shown) - right
    return f"{right} of {_count(objects, 'object')} found, {wrong} wrong" if shown else "nothing found"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _drawn(item: _Shown, image: dict[str, Any]) -> dict[str, Any]:
    """A box inside its picture, rounded to a tenth of a px, with the place of its name."""
    x1, x2 = (min(max(side, 0.0), float(image["width"])) for side in (item.box[0], item.box[2]))
    y1, y2 = (min(max(side, 0.0), float(image["height"])) for side in (item.box[1], item.box[3]))
    size = image["height"] / 20
    return {
        "x": round(x1, 1),
        "y": round(y1, 1),
        "width": round(x2 - x1, 1),
        "height": round(y2 - y1, 1),
        "name": item.name,
        "score": text.number(item.score),
        "right": item.right,
        "opacity": round(min(1.0, max(0.3, item.score)), 2),
        "size": round(size, 1),
        "text_x": round(x1 + 1, 1),
        "text_y": round(y1 - 1.5 if y1 > 1.4 * size else y1 + size, 1),
    }


def _one_of(by_id: dict[int, dict[str, Any]], image_id: int) -> dict[str, Any]:
    if image_id not in by_id:
        raise EvidenceError(f"{GALLERY}: image {image_id} is none of its pictures; make the gallery again")
    return by_id[image_id]


def _film(
    source: Source, film: dict[str, Any], by_id: dict[int, dict[str, Any]], names: Sequence[str]
) -> dict[str, Any]:
    picture, frames = _one_of(by_id, film["image_id"]), []
    most = _drawn_of(len(picture["truth"]))
    for step in film["steps"]:
        order = sorted(range(len(step["boxes"])), key=lambda index: -step["scores"][index])[:MAX_SHOWN]
        shown = [
            _Shown(step["boxes"][i], class_name(step["classes"][i], names), step["scores"][i], False) for i in order
        ]
        boxes = [{**_drawn(item, picture), "best": rank < most} for rank, item in enumerate(shown)]
        frames.append(
            {
                "step": step["step"],
                "time": step["time"],
                "boxes": boxes[::-1],  # the best are drawn last
                "best": text.number(shown[0].score if shown else float("nan")),
            }
        )
    return {
        "label": source.labels.get(film["exp_id"], film["exp_id"]),
        "picture": picture,
        "frames": frames,
        "most": most,
        "evidence": source.anchor("row", film["exp_id"]),
    }


def _scene(
    source: Source, scene: dict[str, Any] | None, by_id: dict[int, dict[str, Any]], names: Sequence[str]
) -> dict[str, Any] | None:
    if scene is None or not scene["nodes"]:
        return None
    picture = _one_of(by_id, scene["image_id"])
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in scene["nodes"]]
    strongest = sorted(((w, i, j) for i, j, w in scene["edges"] if i != j), key=lambda e: (-e[0], e[1], e[2]))
    most = strongest[0][0] if strongest and strongest[0][0] > 0 else 1.0
    called = [f"{number} ({class_name(label, names)})" for number, label in enumerate(scene["classes"], 1)]
    ends = {end for _, i, j in strongest[:MAX_EDGES] for end in (i, j)}
    return {
        "label": source.labels.get(scene["exp_id"], scene["exp_id"]),
        "stage": scene["stage"],
        "picture": picture,
        "evidence": source.anchor("row", scene["exp_id"]),
        "total": len(scene["edges"]),
        "nodes": [
            _drawn(_Shown(box, str(index + 1), scene["scores"][index], True), picture)
            for index, box in enumerate(scene["nodes"])
            if index in ends
        ][:MAX_SHOWN],
        "edges": [
            {
                "x1": round(centres[i][0], 1),
                "y1": round(centres[i][1], 1),
                "x2": round(centres[j][0], 1),
                "y2": round(centres[j][1], 1),
                "width": round((0.2 + 1.3 * max(weight, 0.0) / most) * picture["height"] / 128, 2),
                "opacity": round(0.25 + 0.75 * max(weight, 0.0) / most, 2),
                "tip": f"{called[i]} to {called[j]}: weight {weight:.3f}",
            }
            for weight, i, j in reversed(strongest[:MAX_EDGES])
        ],
        "strongest": [
            {"from": called[i], "to": called[j], "weight": f"{weight:.3f}"} for weight, i, j in strongest[:10]
        ],
    }
