"""Several training sets as one: DATASETS.TRAIN ("a", "b") is all images of a, then all of b."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from c2o_model.data.coco import CocoSplit
from c2o_model.data.errors import DataError


def concatenate(splits: Sequence[CocoSplit]) -> CocoSplit:
    """The images of all ``splits``, in their order; one split is returned as it is.

    Classes must be the same by name and order. An image id that an earlier set has moves behind all ids so far,
    with all ids of its set, so that ids stay unique (they key noise and caches). File names become absolute.

    Raises:
        DataError: the classes differ, or two of the splits are the same file.
    """
    first, *others = splits
    if not others:
        return first
    ids = list(first.image_ids)
    for split in others:
        if split.class_names != first.class_names:
            raise DataError(
                split.annotation,
                f"has the classes {', '.join(split.class_names)}; {first.annotation} has {', '.join(first.class_names)}",
                "train on sets with the same classes in the same order",
            )
        shift = max(ids) + 1 - min(split.image_ids) if set(ids) & set(split.image_ids) else 0
        ids += [image_id + shift for image_id in split.image_ids]
    files = [(os.path.abspath(s.annotation), os.path.abspath(s.image_root)) for s in splits]
    for index, (annotation, root) in enumerate(files):
        if (annotation, root) in files[:index]:
            raise DataError(annotation, "is given twice", "name each training set once")
    return replace(
        first,
        annotation=Path(" + ".join(str(s.annotation) for s in splits)),
        image_ids=tuple(ids),
        file_names=tuple(os.path.abspath(s.image_path(i)) for s in splits for i in range(len(s))),
        sizes=np.concatenate([s.sizes for s in splits]),
        boxes=tuple(b for s in splits for b in s.boxes),
        labels=tuple(x for s in splits for x in s.labels),
        dropped=tuple(d for s in splits for d in s.dropped),
    )
