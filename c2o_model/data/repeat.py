"""Images of rare classes, repeated: LVIS's repeat factor sampling (Gupta et al., arXiv 1908.03195, appendix B.2).

A set named ``lvis_v1_train@repeat=0.001`` is lvis_v1_train in which image I stands r(I) times in an epoch: r(I) is the
largest r(c) of the classes c in it, r(c) = max(1, sqrt(t / f(c))), f(c) the share of images that show c and t what
stands after the ``=``. Of a fraction of r(I) a draw by the image's id makes one copy more or none, the same in every
epoch and every training (Detectron2 draws anew each epoch). Called by :mod:`c2o_model.data.registration`.

With USE_FED_LOSS the frequencies of classes are those of the images as repeated, so rare classes take part as negatives
more often than where they are counted once (Detic).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2o_model.data.coco import CocoSplit
from c2o_model.data.draw import Draw
from c2o_model.data.errors import DataError

MARK = "@repeat="
_STEPS = 2**30


def parse_name(name: str) -> tuple[str, float | None]:
    """The set's own name, and the threshold t of ``name@repeat=t`` or None.

    Raises:
        DataError: t is no number in 0..1 (0 excluded).
    """
    base, mark, text = name.partition(MARK)
    if not mark:
        return name, None
    try:
        threshold = float(text)
    except ValueError:
        threshold = 0.0
    if not 0 < threshold <= 1:
        raise DataError(name, f"{text!r} is no share of images above 0", f"write it as {base}{MARK}0.001")
    return base, threshold


def repeat_factors(split: CocoSplit, threshold: float) -> NDArray[np.float64]:
    """r(I) of each image, [M], 1 or more."""
    shown = np.zeros(len(split.class_names))
    for labels in split.labels:
        shown[np.unique(labels)] += 1
    share = np.maximum(shown, 1) / max(len(split), 1)
    of_class = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([of_class[labels].max() if len(labels) else 1.0 for labels in split.labels])


def repeat_rare(split: CocoSplit, threshold: float) -> CocoSplit:
    """``split`` with its images repeated, copies side by side."""
    indices: list[int] = []
    for index, factor in enumerate(repeat_factors(split, threshold)):
        whole = int(factor)
        more = Draw("repeat", split.image_ids[index]).integer(0, _STEPS - 1) < (factor - whole) * _STEPS
        indices += [index] * (whole + more)
    return split.select(indices)
