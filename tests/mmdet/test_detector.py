"""C2OGND as a detector of MMDetection: its three modes, what keys its noise, and what copies and devices do to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub

from c2o_model.config import ConfigError, load_config
from c2o_model.mmdet3.detector import C2OGND
from c2o_model.mmdet3.from_c2o import model_config
from c2o_model.sampling.sampler import sample
from c2o_model.sampling.steps import NodeState, first_state, predict
from tests.mmdet.pairs import D, Pair, data_sample, make_pair, picture, preprocessed

SIZE = (90, 118)
LABELS = [D + "LABEL_STATE", True]
D3PM = [*LABELS, D + "LABEL_D3PM", True]
QUALITY = [D + "QUALITY_HEAD", True]
FOUR = [D + "SAMPLE_STEP", 4]
KEY = D.removesuffix(".")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair("digits")


@pytest.fixture(autouse=True)
def no_runner() -> Iterator[None]:
    """No test sees the iteration of another one's runner."""
    yield
    MessageHub.get_current_instance().runtime_info.pop("iter", None)


def one_batch(mm: C2OGND, *numbers: int) -> dict[str, Any]:
    pictures = [picture(SIZE, number) for number in numbers]
    boxes = [[3, 4, 40, 50], [20, 10, 90, 70]]
    return preprocessed(mm, pictures, [data_sample(SIZE, number, boxes, [1, 2]) for number in numbers])


def found(samples: list[Any]) -> list[tuple[list[Any], list[Any], list[Any]]]:
    each = [s.pred_instances for s in samples]
    return [(p.bboxes.tolist(), p.scores.tolist(), p.labels.tolist()) for p in each]


@pytest.mark.stack_feature("steps", "renewal", "ensemble", "restarts", "guidance", stack="mmdet")
@pytest.mark.stack_feature("labels_mask", "labels_uniform", "labels_hard", "labels_gaussian", stack="mmdet")
@pytest.mark.stack_feature("aniso_noise", stack="mmdet")
@pytest.mark.parametrize(
    "opts",
    [
        pytest.param([D + "SAMPLE_STEP", 1], id="one step"),
        pytest.param([D + "SAMPLE_STEP", 20], id="twenty steps"),
        pytest.param([*FOUR, D + "BOX_RENEWAL", False, D + "SAMPLE_ETA", 0.3], id="no renewal"),
        pytest.param([*FOUR, D + "USE_ENSEMBLE", False, D + "USE_NMS", False], id="no ensemble, no NMS"),
        pytest.param([*FOUR, D + "SAMPLER_COMPAT", "diffusiondet"], id="as DiffusionDet"),
        pytest.param([D + "SAMPLE_RESTARTS", 2, D + "TEST_NUM_PROPOSALS", 24], id="restarts"),
        pytest.param([*FOUR, *QUALITY, D + "QUALITY_GUIDANCE", True, D + "QUALITY_GUIDANCE_SCALE", 0.1], id="guidance"),
        pytest.param([*FOUR, *D3PM], id="D3PM, mask"),
        pytest.param([*FOUR, *D3PM, D + "LABEL_D3PM_KERNEL", "uniform"], id="D3PM, uniform"),
        pytest.param([*FOUR, *D3PM, D + "LABEL_D3PM_USE_DISTRIBUTION", False], id="D3PM, hard states"),
        pytest.param([*FOUR, *LABELS], id="Gaussian labels"),
        pytest.param([*FOUR, D + "ANISO_NOISE", True, D + "ANISO_NOISE_SIGMA_W", 0.5], id="anisotropic noise"),
    ],
)
def test_the_sampler_is_the_cores_with_every_switch(opts: list[Any]) -> None:
    pair = make_pair("digits_small", opts)
    images = torch.stack([picture(SIZE, number) for number in (1, 2)])
    whwh = torch.tensor([[SIZE[1], SIZE[0]] * 2] * 2).float()
    with torch.no_grad():
        wanted = sample(pair.core, pair.core.features(images), whwh, [1, 2], [0], pair.core.settings.sampler)
    got = found(pair.mm(**one_batch(pair.mm, 1, 2), mode="predict"))
    assert got == [(d.boxes.tolist(), d.scores.tolist(), d.labels.tolist()) for (d,) in wanted]
    assert all(len(scores) > 3 for _, scores, _ in got)


def test_what_is_found_depends_on_image_and_eval_seed_alone(pair: Pair) -> None:
    _, beside = pair.mm(**one_batch(pair.mm, 1, 2), mode="predict")
    (alone,) = pair.mm(**one_batch(pair.mm, 2), mode="predict")
    alone, beside = alone.pred_instances, beside.pred_instances
    assert torch.equal(alone.labels, beside.labels)
    torch.testing.assert_close(alone.bboxes, beside.bboxes, rtol=0, atol=1e-5 * SIZE[1])  # convolutions round otherwise
    torch.testing.assert_close(alone.scores, beside.scores, rtol=0, atol=1e-5)
    seeds = pair.mm.detect(pair.mm.extract_feat(one_batch(pair.mm, 2)["inputs"]), [data_sample(SIZE, 2)], [7, 0])
    torch.testing.assert_close(seeds[0][1].scores, alone.scores, rtol=0, atol=1e-5)
    assert (seeds[0][0].scores[:3] - alone.scores[:3]).abs().max() > 1e-4


def test_raw_outputs_are_those_of_every_stage_from_given_nodes(pair: Pair) -> None:
    batch, core = one_batch(pair.mm, 1, 2), pair.core
    whwh = torch.tensor([[SIZE[1], SIZE[0]] * 2] * 2).float()
    keyed = first_state(core, [(0, 1, 0), (0, 2, 0)], 48, whwh.device)
    other = NodeState(torch.linspace(-1, 1, 2 * 5 * 4).reshape(2, 5, 4), keyed.labels[:, :5])  # type: ignore[index]
    with torch.no_grad():
        for start in (None, other):
            logits, boxes = pair.mm._forward(batch["inputs"], batch["data_samples"], start)
            wanted = predict(core, core.features([picture(SIZE, 1), picture(SIZE, 2)]), whwh, start or keyed, 999)
            assert torch.equal(logits, wanted.logits) and torch.equal(boxes, wanted.boxes)
            assert logits.shape[:2] == (3, 2) and boxes.shape[-1] == 4
        logits, _ = pair.mm(batch["inputs"])  # mode tensor without samples, as tools that count operations call it
        assert logits.shape == (3, 2, 48, 10)


def test_the_noise_of_training_is_keyed_by_train_seed_and_iteration(pair: Pair) -> None:
    mm, hub = pair.mm, MessageHub.get_current_instance()

    def loss(seed: int, iteration: int | None) -> float:
        mm.train_seed = seed
        if iteration is not None:
            hub.update_info("iter", iteration)
        return float(mm.parse_losses(mm(**one_batch(mm, 1), mode="loss"))[0].detach())

    mm._steps = 0
    first, second = loss(0, None), loss(0, None)  # without a runner it counts by itself
    assert first != second
    assert loss(0, 1) == second and loss(0, 0) == first and loss(0, 0) == first and loss(1, 0) != first


@pytest.mark.stack_feature("training", "losses", stack="mmdet")
def test_a_step_of_training_moves_what_is_trained_and_lowers_the_loss() -> None:
    from mmengine.optim import OptimWrapper

    mm = MODELS.build(model_config(load_config("configs/models/digits/small.yaml"))).train()
    wrapper = OptimWrapper(torch.optim.AdamW(mm.parameters(), lr=1e-3))
    before = {name: value.clone() for name, value in mm.state_dict().items()}
    samples = [data_sample(SIZE, 1, [[3, 4, 40, 50], [20, 10, 90, 70]], [1, 2])]
    MessageHub.get_current_instance().update_info("iter", 0)  # always the same noise: the loss must fall
    data = {"inputs": [picture(SIZE, 1)], "data_samples": samples}
    logged = [mm.train_step(data, wrapper)["loss"].item() for _ in range(6)]
    assert logged[-1] < 0.9 * logged[0]
    moved = {name.partition(".")[0] for name, value in mm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"backbone", "bbox_head"}


def test_a_frozen_backbone_stays_in_training(pair: Pair) -> None:
    mm = copy.deepcopy(pair.mm).train()
    assert not mm.backbone.training and mm.bbox_head.training
    assert not any(p.requires_grad for p in mm.backbone.parameters())
    mm.parse_losses(mm(**one_batch(mm, 1), mode="loss"))[0].backward()
    assert all(p.grad is not None for p in mm.bbox_head.parameters())


def test_a_copy_shares_nothing_and_finds_the_same(pair: Pair) -> None:
    wanted = found(pair.mm(**one_batch(pair.mm, 1), mode="predict"))
    other = copy.deepcopy(pair.mm)  # as averages of weights are kept
    assert found(other(**one_batch(other, 1), mode="predict")) == wanted
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.9)
    assert other.core.head is other.bbox_head and other.core.backbone.backbone is other.backbone
    assert found(other(**one_batch(other, 1), mode="predict")) != wanted
    assert found(pair.mm(**one_batch(pair.mm, 1), mode="predict")) == wanted


def test_the_cores_tables_move_with_the_model() -> None:
    mm = make_pair("digits_small").mm.to("meta")
    places = {p.device.type for p in mm.parameters()} | {mm.core.device.type}
    places |= {mm.core.schedule.alphas_cumprod.device.type}
    assert places == {"meta"} and not any(name.startswith("core") for name in mm.state_dict())


@pytest.mark.parametrize("path", sorted(Path("configs/mmdet/_base_/models").glob("*.py")), ids=lambda path: path.stem)
def test_the_model_of_a_configuration_file_is_that_of_its_yaml(path: Path) -> None:
    config = Config.fromfile(path)
    origin = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# Written by: ").split()[-1]
    assert config.model.to_dict() == model_config(load_config(origin))  # run what the first line says where it differs
    if "swin" not in path.stem:  # which takes seconds, and is built elsewhere
        assert isinstance(MODELS.build(config.model), C2OGND)


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    page = Path("docs/mmdetection.md").read_text(encoding="utf-8")
    lines = page[page.index("    custom_imports") : page.index("| mode |")].splitlines()
    (tmp_path / "model.py").write_text("\n".join(line[4:] for line in lines), encoding="utf-8")
    mm = MODELS.build(Config.fromfile(tmp_path / "model.py").model)
    assert mm.core.settings.sampler.sample_step == 4 and mm.bbox_head is mm.core.head


def test_the_keys_may_be_those_of_the_detector_alone() -> None:
    neck = {"type": "FPN", "in_channels": [64, 128, 256, 512], "out_channels": 32, "num_outs": 4}
    keys = {"NUM_CLASSES": 3, "HIDDEN_DIM": 32, "NUM_HEADS": 1, "NUM_PROPOSALS": 8}
    made = {"type": "C2OGND", "backbone": {"type": "ResNet", "depth": 18}, "neck": neck}
    mm = MODELS.build({**made, "c2o": keys}).eval()
    logits, boxes = mm(torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, 1, 8, 3) and boxes.shape == (1, 1, 8, 4)
    with pytest.raises(ConfigError, match=f"^{KEY}.NUM_CLASES: unknown configuration key; did you mean {KEY}.NUM_CLA"):
        MODELS.build({**made, "c2o": {"NUM_CLASES": 3}})
    with pytest.raises(ConfigError, match=f"^{KEY}.HIDDEN_DIM: 64, but the pyramid has 32 channels"):
        MODELS.build({**made, "c2o": {**keys, "HIDDEN_DIM": 64}})
    with pytest.raises(ConfigError, match="^MODEL.ROI_HEADS.IN_FEATURES: p6 is not one of p3, p4, p5, which the neck"):
        MODELS.build({**made, "c2o": keys, "first_level": 3, "neck": {**neck, "num_outs": 3}})


def test_initialising_leaves_the_head_as_it_was_built() -> None:
    neck = {"type": "FPN", "in_channels": [64, 128, 256, 512], "out_channels": 32, "num_outs": 4}
    keys = {"NUM_CLASSES": 3, "HIDDEN_DIM": 32, "NUM_HEADS": 1, "NUM_PROPOSALS": 8}
    made = {"type": "C2OGND", "backbone": {"type": "ResNet", "depth": 18}, "neck": neck, "c2o": keys}
    mm = MODELS.build(made)
    before = {name: value.clone() for name, value in mm.state_dict().items()}
    mm.init_weights()  # as a runner does
    moved = {name.partition(".")[0] for name, value in mm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"backbone", "neck"}
    prior = mm.bbox_head.head_series[0].class_logits.bias  # that of the focal loss: log(0.01 / 0.99)
    torch.testing.assert_close(prior, torch.full((3,), -4.59512))


@pytest.mark.parametrize("key", ["SAMPLER_DISTILL", "CONSISTENCY_DISTILL", "USE_FED_LOSS"])
def test_a_loss_that_needs_more_than_images_is_refused(key: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = pair.mm.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DiffusionDet[key] = True
    monkeypatch.setattr(pair.mm, "cfg", cfg)
    with pytest.raises(ConfigError, match=f"^{KEY}.{key}: True: this stack trains without it; train with python -m"):
        pair.mm(**one_batch(pair.mm, 1), mode="loss")
    assert pair.mm(**one_batch(pair.mm, 1), mode="predict")  # a distilled student can still be tested
