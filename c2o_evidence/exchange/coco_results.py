"""Stored detections as COCO results JSON, one file a run: what `COCO.loadRes` of pycocotools reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from c2o_evidence.annotations import load_ground_truth
from c2o_evidence.detections import Detections, read_class_names, read_detections
from c2o_evidence.errors import EvidenceError
from c2o_evidence.exchange.place import Place
from c2o_evidence.limits import MAX_DETECTIONS_PER_IMAGE

FILE = re.compile(r"eval/[^/]+/seed(\d+)/detections\.safetensors")


class Run(NamedTuple):
    """One evaluation of one checkpoint: row of the suite, train seed, eval seed."""

    exp_id: str
    train_seed: int
    eval_seed: int

    def __str__(self) -> str:
        return ":".join(map(str, self))


def parse_run(text: str) -> Run:
    """EXP:TRAIN:EVAL as it is typed. Raises EvidenceError."""
    found = re.fullmatch(r"([^:]+):(\d+):(\d+)", text)
    if found is None:
        raise EvidenceError(f"--run {text}: is not EXP:TRAIN:EVAL, as student_1:0:3 (row, train seed, eval seed)")
    return Run(found[1], int(found[2]), int(found[3]))


def results_json(detections: Detections, category_ids: Sequence[int]) -> bytes:
    """A COCO results document: image_id, category_id, bbox [x, y, width, height] in px, score; in the order given.

    Args:
        category_ids: of the annotation file, by label.
    """
    boxes = detections.box.astype(np.float64)  # as AP is computed: corners are float32, sizes float64
    boxes[:, 2:] -= boxes[:, :2]
    columns = (detections.image_id, detections.label, boxes, detections.score)
    entries = (
        {"image_id": image, "category_id": category_ids[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*(column.tolist() for column in columns), strict=True)
    )
    return ("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n").encode("ascii")


def coco_files(place: Place, wanted: Sequence[Run]) -> Iterator[tuple[str, bytes]]:
    """File names with content, for the runs wanted or all of them.

    Raises:
        EvidenceError: a run is not there, or the detections do not fit the annotation file.
    """
    truth = load_ground_truth(place.truth)
    most = MAX_DETECTIONS_PER_IMAGE * len(truth.images)
    left, there = set(wanted), []
    for path in place.files():
        if not (found := FILE.fullmatch(path)):
            continue
        file, seed = place.base / path, int(found[1])
        if wanted and not any(run.train_seed == seed for run in left):
            there.append(f"train seed {seed}")
            continue
        names = read_class_names(file) or truth.class_names
        for (exp_id, eval_seed), detections in read_detections(file, most).items():
            run = Run(exp_id, seed, eval_seed)
            there.append(str(run))
            if not wanted or run in left:
                left.discard(run)
                # metrics.py is part of what results are made of: it is used as it stands.
                ids = truth._category_ids(names, detections)
                yield f"{exp_id}.train{seed}.eval{eval_seed}.json", results_json(detections, ids)
    if left:
        raise EvidenceError(f"--run {min(left)}: is not in {place.base}, which has {', '.join(sorted(there)[:8])}, …")
    if not there:
        raise EvidenceError(f"{place.base}: has no stored detections; run `c2o run {place.name}`")
