"""Which classes are taken for which: counts of (true class, predicted class) of one run.

Of the detections of a run as many are looked at as there are objects, those with the best scores (as in
error_types.py). Best first, each takes the free object of any class that it overlaps most, at IoU 0.5 or more. A pair
counts for the two classes; an object that nobody takes for (its class, MISSED); a detection that takes none for
(BACKGROUND, its class), unless it lies in a crowd region of its class.
COCO defines no confusion matrix: the matching is its own (scenes.py) but for the class, which is what is asked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from c2o_evidence.analysis.scenes import NOBODY, Scene, best_of_run, match

CONFUSION_IOU = 0.5
BACKGROUND, MISSED = "(background)", "(missed)"

Pair = tuple[str, str]
"""(true class or BACKGROUND, predicted class or MISSED)."""


def confusion(scenes: Sequence[Scene], class_names: Sequence[str], n_objects: int) -> Counter[Pair]:
    """How often each pair is there in the images of a run. Pairs that are not there are not in it.

    Every object that is no crowd region is in exactly one pair.

    Args:
        n_objects: objects of all images that are no crowd regions: as many detections are looked at.
    """
    counts: Counter[Pair] = Counter()
    for scene, keep in zip(scenes, best_of_run(scenes, n_objects), strict=True):
        best = scene.best(keep)
        taken = match(best, CONFUSION_IOU, same_class=False)
        truth, crowd = best.truth.tolist(), best.crowd.tolist()
        for label, index in zip(best.found.tolist(), taken, strict=True):
            if index == NOBODY:
                counts[BACKGROUND, class_names[label]] += 1
            elif not crowd[index]:
                counts[class_names[truth[index]], class_names[label]] += 1
        for index in {index for index, region in enumerate(crowd) if not region} - set(taken):
            counts[class_names[truth[index]], MISSED] += 1
    return counts
