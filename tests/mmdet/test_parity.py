"""One checkpoint in both stacks: maps, raw outputs, detections and losses agree.

Scales: maps, logits and losses over their largest magnitude; raw boxes, which reach beyond the image, over their
largest magnitude in image sizes; detections over the image's size; scores absolute.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from c2o_model.data.inference import InferenceBatch
from c2o_model.sampling.sampler import sample
from c2o_model.sampling.steps import first_state, predict
from c2o_model.training.draws import draw
from tests.mmdet.pairs import SHOWN, Pair, data_sample, make_pair, picture, preprocessed, relative, training_batch

TOLERANCE = 1e-5
SEED = 3


@pytest.fixture(scope="module", params=list(SHOWN))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield make_pair(request.param)


@torch.no_grad()
def differences(pair: Pair, number: int = 1) -> dict[str, float]:
    """Of one padded picture of unequal sides: the largest differences by quantity."""
    (height, width), image = pair.size, picture(pair.size, number)
    batch = preprocessed(pair.mm, [image], [data_sample(pair.size, 11)])
    assert batch["inputs"].shape[2:] != (height, width)  # it is padded
    normal = pair.core.normalise([image])
    ours, theirs = pair.core.features([image]), pair.mm.extract_feat(batch["inputs"])
    found = {
        "input": float((normal - batch["inputs"]).abs().max()),
        "maps": max(relative(a, b) for a, b in zip(ours, theirs, strict=True)),
    }
    whwh = torch.tensor([[width, height] * 2]).float()
    sampler = pair.core.settings.sampler
    nodes = sampler.test_num_proposals or pair.core.settings.diffusion.num_proposals
    start = first_state(pair.core, [(SEED, 11, 0)], nodes, whwh.device)
    out = predict(pair.core, ours, whwh, start, pair.core.schedule.timesteps - 1)
    pair.mm.eval_seed = SEED
    logits, boxes = pair.mm(**batch, mode="tensor")
    found["logits"] = relative(out.logits, logits)
    found["boxes"] = relative(out.boxes / whwh, boxes / whwh)
    wanted = sample(pair.core, ours, whwh, [11], [SEED], sampler)[0][0]
    got = pair.mm(**batch, mode="predict")[0].pred_instances
    assert len(wanted.scores) == len(got) > 3
    assert torch.equal(wanted.labels, got.labels)
    found["scores"] = float((wanted.scores - got.scores).abs().max())
    found["detections"] = float(((wanted.boxes - got.bboxes) / whwh).abs().max())
    return found


@pytest.mark.stack_feature("small_resnet", "resnet", "swin", stack="mmdet")
def test_maps_outputs_and_detections_of_both_stacks_agree(pair: Pair) -> None:
    found = differences(pair)
    assert found.pop("input") == 0
    assert {name: value for name, value in found.items() if not value <= TOLERANCE} == {}


def losses(pair: Pair) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Of a batch of two sizes, one image of which is empty, in both stacks, with the noise of (seed 5, iteration 0)."""
    height, width = pair.size
    smaller = (height - 20, width - 7)
    pictures = [picture(pair.size, 1), picture(smaller, 2), picture(smaller, 3)]
    samples = [
        data_sample(pair.size, 1, [[3, 4, 40, 50], [20, 10, 90, 70.5]], [1, 2]),
        data_sample(smaller, 2, [[8, 8, 30, 60]], [0]),
        data_sample(smaller, 3),
    ]
    d = pair.cfg.MODEL.DiffusionDet
    draws = draw(5, 0, 3, d.NUM_PROPOSALS, 2, d.DIFFUSION_TIMESTEPS)
    ours = pair.core.losses(training_batch(pictures, samples), draws)
    pair.mm.train_seed, pair.mm._steps = 5, 0
    return ours, pair.mm(**preprocessed(pair.mm, pictures, samples), mode="loss")


@pytest.mark.stack_feature("losses", stack="mmdet")
def test_losses_of_both_stacks_agree_on_the_same_noise(pair: Pair) -> None:
    ours, theirs = losses(pair)  # in evaluation mode, or Swin would drop other paths
    assert list(ours) == list(theirs) and len(ours) >= 6
    assert {n: (float(ours[n]), float(theirs[n])) for n in ours if relative(ours[n], theirs[n]) > TOLERANCE} == {}
    total, logged = pair.mm.parse_losses(theirs)
    assert relative(torch.stack(list(ours.values())).sum(), total) <= TOLERANCE


def test_boxes_go_back_to_the_pixels_of_the_file_as_in_the_core() -> None:
    pair = make_pair("digits")
    file_size = (61, 79)
    (height, width), image = pair.size, picture(pair.size, 1)
    whwh, limit = torch.tensor([[width, height] * 2]).float(), torch.tensor([[79, 61] * 2]).float()
    inference = InferenceBatch(image[None], [11], whwh, limit / whwh, limit)
    with torch.no_grad():
        found = sample(pair.core, pair.core.features(image[None]), whwh, [11], [0], pair.core.settings.sampler)[0][0]
        sample_of_file = data_sample(pair.size, 11, file_size=file_size)
        got = pair.mm.test_step({"inputs": [image.flip(0)], "data_samples": [sample_of_file]})[0].pred_instances
    wanted = inference.to_original(0, found.boxes)
    assert (wanted - got.bboxes).abs().max() <= TOLERANCE * max(file_size)
    assert got.bboxes[:, 2].max() <= 79 and got.bboxes[:, 3].max() <= 61 and float(got.bboxes.max()) > 40
