"""Which classes are taken for which: worked by hand, and against brute force."""

import pytest

from c2o_evidence.analysis.confusion import BACKGROUND, MISSED, confusion
from c2o_evidence.analysis.scenes import Scenes
from tests.c2o_evidence.analysis.sets import CLASSES, found_in, found_of, iou, random_set, things_in, truth_of

HERE, THERE, NEAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0), (0.0, 0.0, 10.0, 8.0)


def of(truth, found):
    scenes = Scenes(truth, CLASSES)
    return dict(confusion(list(scenes.of(found)), CLASSES, scenes.n_objects))


def test_right_wrong_class_nothing_there_and_missed() -> None:
    truth = truth_of([(1, "cat", HERE), (1, "dog", THERE), (2, "owl", HERE), (3, "owl", HERE)])
    found = found_of(
        [
            (1, "cat", HERE, 0.9),  # right
            (1, "cat", THERE, 0.8),  # a dog
            (2, "dog", THERE, 0.7),  # nothing is there
            (2, "cat", THERE, 0.6),  # nor here
            (3, "owl", HERE, 0.5),  # of four objects, the fifth best
        ]
    )
    nothing = {(BACKGROUND, "dog"): 1, (BACKGROUND, "cat"): 1}
    pairs = {("cat", "cat"): 1, ("dog", "cat"): 1, ("owl", MISSED): 2} | nothing
    assert of(truth, found) == pairs


def test_the_better_score_takes_the_object_and_the_other_one_finds_nothing() -> None:
    truth = truth_of([(1, "cat", HERE), (2, "owl", HERE)])
    found = found_of([(1, "cat", HERE, 0.6), (1, "dog", NEAR, 0.9)])
    assert of(truth, found) == {("cat", "dog"): 1, (BACKGROUND, "cat"): 1, ("owl", MISSED): 1}


def test_a_crowd_region_swallows_what_has_its_class_and_is_never_missed() -> None:
    owls = [(image, "owl", HERE) for image in (2, 3)] * 2
    truth = truth_of(owls, crowds=[(1, "cat", (0.0, 0.0, 50.0, 50.0))])
    found = found_of([(1, "cat", HERE, 0.9), (1, "cat", NEAR, 0.9), (1, "dog", HERE, 0.9), (1, "cat", THERE, 0.9)])
    assert of(truth, found) == {(BACKGROUND, "dog"): 1, (BACKGROUND, "cat"): 1, ("owl", MISSED): 4}


def test_an_object_marked_difficult_counts_as_in_coco() -> None:
    assert of(truth_of([], aside=[(1, "cat", HERE)]), found_of([])) == {("cat", MISSED): 1}


@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force(seed: int) -> None:
    truth, found = random_set(seed)
    expected: dict[tuple[str, str], int] = {}
    objects = sum(not crowd for image in truth.images for _, _, crowd in things_in(truth, image))
    everything = [(-score, place) for image in truth.images for *_, score, place in found_in(found, image)]
    looked_at = {place for _, place in sorted(everything)[:objects]}
    for image in truth.images:
        things, used = things_in(truth, image), set()
        pairs = []
        for name, box, _, place in found_in(found, image):
            if place not in looked_at:
                continue
            near = [(iou(box, b), i) for i, (_, b, crowd) in enumerate(things) if not crowd and i not in used]
            near = [(overlap, i) for overlap, i in near if overlap >= 0.5]
            if near:
                used.add(max(near)[1])
                pairs.append((things[max(near)[1]][0], name))
            elif not any(c and other == name and iou(box, b, region=True) >= 0.5 for other, b, c in things):
                pairs.append((BACKGROUND, name))
        pairs += [(name, MISSED) for i, (name, _, crowd) in enumerate(things) if not crowd and i not in used]
        for pair in pairs:
            expected[pair] = expected.get(pair, 0) + 1
    assert of(truth, found) == expected
    assert sum(count for (true, _), count in expected.items() if true != BACKGROUND) == objects
