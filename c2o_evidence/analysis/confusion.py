"""Which classes are taken for which: counts of (true class, predicted class) of one run.

Of all detections with a score of CONFUSION_SCORE or more, best first, each takes the free object of any class that it
overlaps most, at IoU 0.5 or more. A pair counts for the two classes; an object that nobody takes for (its class,
MISSED); a detection that takes none for (BACKGROUND, its class), unless it lies in a crowd region of its class.
COCO defines no confusion matrix: the matching is its own (scenes.py) but for the class, which is what is asked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from c2o_evidence.analysis.scenes import NOBODY, Scene, match

CONFUSION_SCORE = 0.5
CONFUSION_IOU = 0.5
BACKGROUND, MISSED = "(background)", "(missed)"

Pair = tuple[str, str]
"""(true class or BACKGROUND, predicted class or MISSED)."""


def confusion(scenes: Iterable[Scene], class_names: Sequence[str]) -> Counter[Pair]:
    """How often each pair is there in the images of a run. Pairs that are not there are not in it.

    Every object that is no crowd region is in exactly one pair.
    """
    counts: Counter[Pair] = Counter()
    for scene in scenes:
        sure = scene.best(scene.score >= CONFUSION_SCORE)
        taken = match(sure, CONFUSION_IOU, same_class=False)
        truth, crowd = sure.truth.tolist(), sure.crowd.tolist()
        for label, index in zip(sure.found.tolist(), taken, strict=True):
            if index == NOBODY:
                counts[BACKGROUND, class_names[label]] += 1
            elif not crowd[index]:
                counts[class_names[truth[index]], class_names[label]] += 1
        for index in {index for index, region in enumerate(crowd) if not region} - set(taken):
            counts[class_names[truth[index]], MISSED] += 1
    return counts
