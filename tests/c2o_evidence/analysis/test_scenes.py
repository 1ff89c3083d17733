"""The matching is that of pycocotools, and no more than 100 detections of an image and class are looked at."""

import contextlib
import io

import numpy as np
import pytest

from c2o_evidence.analysis.scenes import MAX_DETECTIONS, NOBODY, Scenes, match
from c2o_evidence.detections import Detections
from c2o_evidence.metrics import _as_coco, _index
from tests.c2o_evidence.analysis.sets import CLASSES, found_of, random_set, truth_of


@pytest.mark.parametrize("seed", range(10, 16))
@pytest.mark.parametrize("least", [0.5, 0.75])
def test_matches_of_pycocotools(seed: int, least: float) -> None:
    from pycocotools.cocoeval import COCOeval

    truth, found = random_set(seed)
    dataset = truth._coco.dataset
    results = _index(dataset["images"], dataset["categories"], _as_coco(found, [5, 6, 7]))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth._coco, results, "bbox")
        evaluation.params.iouThrs = np.array([least])
        evaluation.evaluate()
    theirs, aside = {}, set()
    for item in evaluation.evalImgs:
        if item is not None and item["aRng"] == evaluation.params.areaRng[0]:
            for number, taken, ignored in zip(item["dtIds"], item["dtMatches"][0], item["dtIgnore"][0], strict=True):
                theirs[number - 1] = int(taken)
                aside |= {number - 1} if ignored else set()
    ids = {image: [a["id"] for a in dataset["annotations"] if a["image_id"] == image] for image in truth.images}
    ours, ours_aside = {}, set()
    for image, scene in zip(sorted(truth.images), Scenes(truth, CLASSES).of(found), strict=True):
        for place, taken in zip(scene.place.tolist(), match(scene, least, same_class=True), strict=True):
            ours[place] = 0 if taken == NOBODY else ids[image][taken]
            ours_aside |= {place} if taken != NOBODY and scene.crowd[taken] else set()
    assert ours == theirs and ours_aside == aside


def test_no_more_than_100_of_an_image_and_class() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    things = [(1, "cat", box, score / 1000) for score in range(MAX_DETECTIONS + 7)]
    found = found_of([*things, (1, "dog", box, 0.5), (2, "cat", box, 0.5)])
    first, second, third = Scenes(truth_of([(1, "cat", box)]), CLASSES).of(found)
    assert len(first.place) == MAX_DETECTIONS + 1 and len(second.place) == 1 and len(third.place) == 0
    assert first.found.tolist().count(0) == MAX_DETECTIONS and min(first.score.tolist()) == np.float32(0.007)


def test_objects_of_categories_that_the_model_does_not_know_are_left_out() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    scenes = Scenes(truth_of([(1, "cat", box), (1, "owl", box)]), ("owl", "dog"))
    found = Detections.from_arrays({"image_id": [1], "label": [0], "box": [box], "score": [0.5]})
    scene = next(scenes.of(found))
    assert scenes.n_objects == 1 and scene.truth.tolist() == [0] and scene.iou.tolist() == [[1.0]]
