"""What the one loop of all stacks takes from outside: nodes to start from, and a look at those of each step."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.noise import START, step_noise
from c2o_model.sampling.sampler import denoise
from c2o_model.sampling.steps import NodeState

KEYS = [(0, image, 0) for image in (7, 17, 27, 37)]


@pytest.fixture
def call(make_detector: Any, tiny_batch: TrainingBatch) -> Any:
    detector = make_detector()
    settings = replace(detector.settings.sampler, sample_step=3)

    def candidates(**more: Any) -> Any:
        with torch.no_grad():
            return denoise(detector, detector.features(tiny_batch.images), tiny_batch.whwh, KEYS, settings, **more)

    return candidates


@pytest.mark.stack_feature("init_state", stack="detectron2")
def test_it_starts_from_what_is_given(call: Any) -> None:
    own = step_noise(KEYS, START, 8, torch.device("cpu")).ddim  # what it draws where nothing is given
    plain, given = call(), call(start=NodeState(own, None))
    assert torch.equal(plain.boxes, given.boxes) and torch.equal(plain.scores, given.scores)
    other = call(start=NodeState(own.flip(1), None))
    assert not torch.equal(plain.boxes, other.boxes)
    assert call(start=NodeState(own[:, :5], None)).boxes.shape[1] < plain.boxes.shape[1]


@pytest.mark.stack_feature("callback", stack="detectron2")
def test_each_step_is_shown_and_may_be_changed(call: Any) -> None:
    seen = []

    def look(index: int, t: int, state: NodeState) -> NodeState:
        seen.append((index, t, state.x.clone()))
        return state

    plain, watched = call(), call(after=look)
    assert torch.equal(plain.boxes, watched.boxes)
    assert [(index, t) for index, t, _ in seen] == [(0, 999), (1, 665), (2, 332)]  # floor of linspace(-1, 999, 4)
    assert torch.equal(seen[1][2], seen[2][2])  # the last step leads to no other
    again = call(after=lambda index, t, state: NodeState(seen[index][2] * 0, state.labels))
    first = plain.boxes.shape[1] // 3  # the candidates of the first step come before what is changed behind it
    assert torch.equal(again.boxes[:, :first], plain.boxes[:, :first])
    assert not torch.equal(again.boxes, plain.boxes)
