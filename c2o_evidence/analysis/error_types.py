"""Why detections are wrong and objects are not found: the kinds of TIDE, counted in one run.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (ECCV 2020), section 2.2, with their
thresholds of IoU: t_f = 0.5 (foreground), t_b = 0.1 (background). Of a detection that is not right (right: it takes an
object of its class as in COCO's matching, scenes.py), let `right` be its highest IoU with an object of its class, taken
or not, and `wrong` that with an object of another class. It is, whichever comes first (the order of their program:
several may fit),

    localisation    t_b <= right < t_f
    classification  wrong >= t_f
    duplicate       right >= t_f: a better detection has the object
    background      right and wrong < t_b
    both            wrong between t_b and t_f: neither class nor place fit

and an object is `missed` that no detection has taken, and that no error of localisation or classification is about.
What lies in a crowd region of its class is no error.

They weigh kinds by the AP that mending one would give; here errors are counted, which needs a point of work: the `n`
detections of a run with the best scores, n being the number of its objects. So no score is a threshold, and rows whose
scores mean different things (a quality head multiplies into them) can be compared; as many detections are wrong as
objects are not found, but for crowds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from c2o_evidence.analysis.scenes import NOBODY, Bools, Scene, best_of_run, match

FOREGROUND, BACKGROUND_BELOW = 0.5, 0.1
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


def error_types(scenes: Sequence[Scene], n_objects: int) -> Counter[str]:
    """How many errors of each of KINDS the images of a run have; a kind that is not there is not in it.

    Args:
        n_objects: objects of all images that are no crowd regions: as many detections are looked at.
    """
    counts: Counter[str] = Counter()
    for scene, keep in zip(scenes, best_of_run(scenes, n_objects), strict=True):
        counts.update(_of_image(scene.best(keep)))
    return counts


def _of_image(scene: Scene) -> Counter[str]:
    counts: Counter[str] = Counter()
    taken = match(scene, FOREGROUND, same_class=True)
    settled = set(taken)  # objects that somebody has, or that an error is about
    same = (scene.found[:, None] == scene.truth[None, :]) & ~scene.crowd
    other = ~same & ~scene.crowd
    for number, index in enumerate(taken):
        if index != NOBODY:
            continue
        right, right_of = _highest(scene, number, same)
        wrong, wrong_of = _highest(scene, number, other)
        if BACKGROUND_BELOW <= right < FOREGROUND:
            counts["localisation"] += 1
            settled.add(right_of)
        elif wrong >= FOREGROUND:
            counts["classification"] += 1
            settled.add(wrong_of)
        elif right >= FOREGROUND:
            counts["duplicate"] += 1
        elif wrong < BACKGROUND_BELOW:
            counts["background"] += 1
        else:
            counts["both"] += 1
    counts["missed"] += len(set(np.flatnonzero(~scene.crowd).tolist()) - settled)
    return counts


def _highest(scene: Scene, number: int, which: Bools) -> tuple[float, int]:
    """The highest IoU of a detection with the objects of `which` [d, g], and with which it is; 0 with none."""
    overlaps = np.where(which[number], scene.iou[number], 0.0)
    if not len(overlaps):
        return 0.0, NOBODY
    index = int(overlaps.argmax())
    return float(overlaps[index]), index
