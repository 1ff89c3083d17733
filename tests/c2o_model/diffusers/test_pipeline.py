"""The pipeline as an object of Diffusers: files, callback, progress bar, states to start from, pictures, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from c2o_model.diffusers import D3PMLabelScheduler, DDIMBoxScheduler, HybridDiffusionPipeline
from c2o_model.keys import ConfigError
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.steps import first_state
from tests.c2o_model.diffusers.conftest import KINDS, MakePair
from tests.c2o_model.diffusers.test_bits import IDS, SEEDS, D, same


@pytest.fixture
def images(tiny_batch: TrainingBatch) -> list[Tensor]:
    return list(tiny_batch.images)


# ---- callback and progress bar


@pytest.mark.stack_feature("callback", stack="diffusers")
@pytest.mark.parametrize("kind", ["plain", "hybrid", "gaussian"])
def test_the_callback_sees_every_step_and_may_leave_the_nodes_alone(
    make_pair: MakePair, images: list[Tensor], kind: str
) -> None:
    pipeline, seen = make_pair(kind)[1], []

    def watch(pipe: Any, step: int, t: int, tensors: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline and list(tensors) == ["boxes", "labels"]
        assert tensors["boxes"].shape == (8, 8, 4)
        assert tensors["labels"] is None if kind == "plain" else tensors["labels"].shape == (8, 8, 4)
        seen.append((step, t))
        return tensors

    names = ["boxes", "labels"]
    found = pipeline(
        images, IDS, SEEDS, 4, callback_on_step_end=watch, callback_on_step_end_tensor_inputs=names
    ).detections
    assert seen == [(0, 999), (1, 749), (2, 499), (3, 249)]
    same(found, pipeline(images, IDS, SEEDS, 4).detections)
    same(found, pipeline(images, IDS, SEEDS, 4, callback_on_step_end=lambda *a: None).detections)


def test_a_callback_replaces_boxes_and_labels(make_pair: MakePair, images: list[Tensor]) -> None:
    """Nodes put in at the end of step 1 of 4 lead where the same nodes lead if everything before is another."""
    pipeline = make_pair("hybrid")[1]
    options = {D + "USE_ENSEMBLE": False}
    boxes = torch.randn(4, 8, 4)
    hard = torch.randint(0, 4, (4, 8))

    def put(pipe: Any, step: int, t: int, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"boxes": boxes, "labels": hard} if step == 1 else {}

    same_ids = {"image_ids": IDS, "eval_seeds": 5, "num_inference_steps": 4, "options": options}
    one = pipeline(images, callback_on_step_end=put, **same_ids).detections
    start = (torch.randn(4, 8, 4), torch.randint(0, 4, (4, 8)))
    two = pipeline(images, callback_on_step_end=put, init_state=start, **same_ids).detections
    same(one, two)
    three = pipeline(images, init_state=start, **same_ids).detections
    assert not torch.equal(one[0][0].boxes, three[0][0].boxes)


def test_the_progress_bar_counts_steps_and_can_be_switched_off(
    make_pair: MakePair, images: list[Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = make_pair("plain")[1]
    wide = torch.zeros(3, 64, 96, dtype=torch.uint8)  # another size: a batch of its own
    pipeline(images, num_inference_steps=3)
    assert capsys.readouterr().err == ""
    pipeline.set_progress_bar_config(disable=False, ncols=60)
    try:
        pipeline([*images, wide], num_inference_steps=3)
    finally:
        pipeline.set_progress_bar_config(disable=True)
    assert "6/6" in capsys.readouterr().err


# ---- states to start from


@pytest.mark.stack_feature("init_state", stack="diffusers")
@pytest.mark.parametrize("kind", KINDS)
def test_starting_from_the_samplers_own_noise_changes_nothing(
    make_pair: MakePair, images: list[Tensor], kind: str
) -> None:
    detector, pipeline = make_pair(kind)
    keys = [(seed, image, r) for image in IDS for seed in SEEDS for r in range(2)]
    state = first_state(detector, keys, 8, torch.device("cpu"))
    options = {D + "SAMPLE_RESTARTS": 2}
    expected = pipeline(images, IDS, SEEDS, 4, options=options).detections
    for labels in (state.labels, None):
        found = pipeline(images, IDS, SEEDS, 4, options=options, init_state=(state.x, labels)).detections
        same(found, expected)


def test_one_set_of_nodes_a_picture_serves_all_seeds_and_sizes(make_pair: MakePair, images: list[Tensor]) -> None:
    pipeline = make_pair("hybrid")[1]
    wide = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    pictures = [images[0], wide, images[1]]  # three batches
    boxes, labels = torch.randn(3, 11, 4), torch.randint(0, 4, (3, 11))
    together = pipeline(pictures, [3, 4, 5], [0, 1], 2, init_state=(boxes, labels)).detections
    for row, (picture, number) in enumerate(zip(pictures, (3, 4, 5), strict=True)):
        twice = (boxes[row : row + 1].expand(2, -1, -1), labels[row : row + 1].expand(2, -1))
        alone = pipeline(picture, [number], [0, 1], 2, init_state=twice).detections
        same([together[row]], alone)


def test_boxes_in_pixels_are_where_the_network_looks(make_pair: MakePair, images: list[Tensor]) -> None:
    """With one step the head sees the boxes of init_state as they were given (inside the image)."""
    detector, pipeline = make_pair("plain")
    whwh = torch.full((4, 4), 64.0)
    corner = torch.rand(4, 8, 2) * 30
    boxes = torch.cat([corner, corner + 5 + torch.rand(4, 8, 2) * 25], -1)
    start = (pipeline.box_scheduler.encode(boxes, whwh), None)
    found = pipeline(images, IDS, num_inference_steps=1, init_state=start, options={D + "USE_NMS": False}).detections
    with torch.no_grad():
        out = detector.head(detector.features(torch.stack(images)), boxes, torch.full((4,), 999), whwh)
    for row in range(4):
        best = out.logits[-1, row].sigmoid().flatten().sort(descending=True).values[: len(found[row][0].scores)]
        torch.testing.assert_close(found[row][0].scores, best, rtol=1e-3, atol=1e-4)


# ---- pictures


def test_pictures_in_every_form_give_the_same_bits(make_pair: MakePair, images: list[Tensor]) -> None:
    pipeline = make_pair("hybrid")[1]
    expected = pipeline(images, IDS, SEEDS, 2).detections
    arrays = [one.permute(1, 2, 0).numpy() for one in images]
    for form in (torch.stack(images), arrays, np.stack(arrays), [Image.fromarray(a) for a in arrays]):
        same(pipeline(form, IDS, SEEDS, 2).detections, expected)
    encoded = pipeline.encode_images(images, IDS)
    for _ in range(2):
        same(pipeline(features=encoded, eval_seeds=SEEDS, num_inference_steps=2).detections, expected)
    same(pipeline(Image.fromarray(arrays[0]), [7], 0, 2).detections, pipeline(images[:1], [7], [0], 2).detections)
    (as_tuple,) = pipeline(images, IDS, SEEDS, 2, return_dict=False)
    same(as_tuple, expected)
    numbers = pipeline(images, IDS, SEEDS, 2, output_type="np").detections
    assert isinstance(numbers[1][0].boxes, np.ndarray)
    assert np.array_equal(numbers[1][0].boxes, expected[1][0].boxes.numpy())


def test_company_changes_no_more_than_the_last_digits(make_pair: MakePair, images: list[Tensor]) -> None:
    """Matrix products round by their shape: see the sampler's own test for these bounds."""
    pipeline = make_pair("hybrid")[1]
    together = pipeline(images, IDS, SEEDS, 2).detections
    for row in (0, 3):
        alone = pipeline(images[row], IDS[row : row + 1], SEEDS[1], 2).detections[0][0]
        assert alone.labels.tolist() == together[row][1].labels.tolist()
        torch.testing.assert_close(alone.scores, together[row][1].scores, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(alone.boxes, together[row][1].boxes, rtol=1e-6, atol=256e-6 * 4)


def test_resized_pictures_have_their_boxes_in_their_own_pixels(
    make_config: Any, tmp_path: Path, make_detector: Any
) -> None:
    from c2o_model.checkpoint import save_checkpoint

    values = {"INPUT.MIN_SIZE_TRAIN": (32,), "INPUT.MIN_SIZE_TEST": 32, "INPUT.MAX_SIZE_TEST": 100}
    save_checkpoint(tmp_path / "m.safetensors", make_detector(values).state_dict(), {})
    pipeline = HybridDiffusionPipeline.from_c2o(make_config(values), tmp_path / "m.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 96, 3), dtype=np.uint8))
    found = pipeline(picture, [3], num_inference_steps=2).detections[0][0]
    smaller = np.asarray(picture.resize((32, 43), Image.Resampling.BILINEAR))
    exact = make_config()  # the same model, for pictures as they are
    save_checkpoint(tmp_path / "n.safetensors", pipeline.detector.model.state_dict(), {})
    other = HybridDiffusionPipeline.from_c2o(exact, tmp_path / "n.safetensors")
    other.set_progress_bar_config(disable=True)
    expected = other(smaller, [3], num_inference_steps=2).detections[0][0]
    scale = torch.tensor([96 / 32, 128 / 43, 96 / 32, 128 / 43])
    torch.testing.assert_close(found.boxes, expected.boxes * scale)
    assert torch.equal(found.scores, expected.scores)
    assert (found.boxes[:, 2] <= 96).all() and (found.boxes[:, 3] <= 128).all() and found.boxes.max() > 43


def test_a_generator_draws_the_seed(make_pair: MakePair, images: list[Tensor]) -> None:
    pipeline = make_pair("plain")[1]
    a, b, c = (pipeline(images, generator=torch.Generator().manual_seed(s)).detections for s in (1, 1, 2))
    same(a, b)
    assert not torch.equal(a[0][0].boxes, c[0][0].boxes)
    same(pipeline(images).detections, pipeline(images, range(4), [0]).detections)
    same(pipeline(images, eval_seeds=np.int64(4)).detections, pipeline(images, eval_seeds=[4]).detections)


# ---- errors


def ignore(*args: Any) -> None: ...


ERRORS: dict[str, tuple[str, Callable[[Any, list[Tensor]], Any], str]] = {
    "no picture": ("plain", lambda p, i: p([]), "images: there is none; give a picture or a list of them"),
    "nothing": ("plain", lambda p, i: p(), "images, features: give one of them"),
    "ids": ("plain", lambda p, i: p(i, [1, 2]), "image_ids: 2 for 4 pictures; give one each"),
    "ids twice": (
        "plain",
        lambda p, i: p(features=p.encode_images(i), image_ids=IDS),
        "image_ids: `features` have theirs already",
    ),
    "floats": (
        "plain",
        lambda p, i: p(i[0].float()),
        r"images\[0\]: a tensor \[3, 64, 64\] of float32; give uint8 \[3, height, width\], RGB",
    ),
    "grey": (
        "plain",
        lambda p, i: p([i[0], np.zeros((5, 5), np.uint8)]),
        r"images\[1\]: an array \[5, 5\] of uint8; give uint8 \[height, width, 3\], RGB",
    ),
    "a path": ("plain", lambda p, i: p(["a.png"]), r"images\[0\]: a str; give a PIL picture, a uint8 tensor"),
    "seeds": ("plain", lambda p, i: p(i, eval_seeds=[]), "eval_seeds: there is none; give at least one"),
    "generator": (
        "plain",
        lambda p, i: p(i, eval_seeds=1, generator=torch.Generator()),
        "eval_seeds, generator: give one of them",
    ),
    "output": ("plain", lambda p, i: p(i, output_type="pil"), "output_type: 'pil' is none of pt, np"),
    "inputs": (
        "plain",
        lambda p, i: p(i, callback_on_step_end_tensor_inputs=["latents"]),
        "callback_on_step_end_tensor_inputs: 'latents' is none of boxes, labels",
    ),
    "steps": (
        "plain",
        lambda p, i: p(i, num_inference_steps=1001),
        "SAMPLE_STEP: 1001 exceeds DIFFUSION_TIMESTEPS 1000",
    ),
    "eta": ("plain", lambda p, i: p(i, eta=1.5), "SAMPLE_ETA: 1.5 is above the largest allowed value 1.0"),
    "options": ("plain", lambda p, i: p(i, options={D + "NHEADS": 4}), "NHEADS: is no test-time key; a row may set"),
    "start": ("plain", lambda p, i: p(i, init_state=torch.zeros(4, 8, 4)), r"init_state: give a tuple \(boxes, labels"),
    "start's shape": (
        "plain",
        lambda p, i: p(i, IDS, [0, 1], init_state=(torch.zeros(3, 8, 4), None)),
        r"init_state: boxes are \[3, 8, 4\]; give \[M,N,4\] in signal space, M = 4 or 8 \(4 pictures, 2 node sets each",
    ),
    "start's labels": (
        "plain",
        lambda p, i: p(i, init_state=(torch.zeros(4, 8, 4), torch.zeros(4, 8).long())),
        r"init_state: labels: this detector has no label states \(LABEL_STATE\); give None",
    ),
    "a label": (
        "hybrid",
        lambda p, i: p(i, init_state=(torch.zeros(4, 8, 4), torch.full((4, 8), 4))),
        "init_state: labels: outside 0..3; 3 is unk",
    ),
    "labels' shape": (
        "hybrid",
        lambda p, i: p(i, init_state=(torch.zeros(4, 8, 4), torch.zeros(4, 8, 3))),
        r"labels are torch.float32 \[4, 8, 3\]; give int64 \[4, 8\] or float \[4, 8, 4\], as the label scheduler",
    ),
    "hard labels for Gaussian": (
        "gaussian",
        lambda p, i: p(i, init_state=(torch.zeros(4, 8, 4), torch.zeros(4, 8).long())),
        r"labels are torch.int64 \[4, 8\]; give float \[4, 8, 4\], as the label scheduler makes them",
    ),
    "callback": (
        "plain",
        lambda p, i: p(i, callback_on_step_end=lambda *a: {"latents": 1}),
        "callback_on_step_end: it returned 'latents'; only boxes and labels can be replaced",
    ),
    "callback's shape": (
        "plain",
        lambda p, i: p(i, callback_on_step_end=lambda *a: {"boxes": torch.zeros(1)}),
        r"callback_on_step_end: it returned boxes \[1\] for \[4, 8, 4\]",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit_is_told(make_pair: MakePair, images: list[Tensor], name: str) -> None:
    kind, call, told = ERRORS[name]
    pipeline = make_pair(kind)[1]
    before = pipeline.detector.model.settings
    with pytest.raises(ValueError, match=told):  # ConfigError is one
        call(pipeline, images)
    assert pipeline.detector.model.settings is before


def test_parts_of_another_detector_are_refused(make_pair: MakePair) -> None:
    plain, hybrid, gaussian = (make_pair(kind)[1] for kind in ("plain", "hybrid", "gaussian"))
    boxes = hybrid.box_scheduler
    for parts, told in (
        ((plain.detector, boxes, hybrid.label_scheduler), "label_scheduler: D3PMLabelScheduler, but .* needs None"),
        ((hybrid.detector, boxes), "label_scheduler: None, but a detector with these label states needs D3PMLabelSch"),
        ((hybrid.detector, boxes, gaussian.label_scheduler), "GaussianLabelScheduler, but .* needs D3PMLabelScheduler"),
        ((hybrid.detector, boxes, D3PMLabelScheduler(4)), "label_scheduler: num_classes is 4, but the detector has 3"),
        (
            (plain.detector, DDIMBoxScheduler(500)),
            "box_scheduler: num_train_timesteps is 500, but the detector has 1000",
        ),
        (
            (plain.detector, DDIMBoxScheduler(snr_scale=1.0)),
            "box_scheduler: snr_scale is 1.0, but the detector has 2.0",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            HybridDiffusionPipeline(*parts)


# ---- files


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_pipeline_gives_the_same_bits(
    make_pair: MakePair, images: list[Tensor], tmp_path: Path, kind: str
) -> None:
    pipeline = make_pair(kind)[1]
    pipeline.save_pretrained(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "model_index.json",
        "detector/config.json",
        "detector/diffusion_pytorch_model.safetensors",
        "box_scheduler/scheduler_config.json",
        *({"label_scheduler/scheduler_config.json"} if kind != "plain" else ()),
    }
    again = HybridDiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert not again.detector.training and set(again.components) == {"detector", "box_scheduler", "label_scheduler"}
    same(again(images, IDS, SEEDS, 4).detections, pipeline(images, IDS, SEEDS, 4).detections)
    before, after = pipeline.detector.state_dict(), again.detector.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    changed = type(pipeline.box_scheduler).from_config(pipeline.box_scheduler.config, eta=0.5)
    other = HybridDiffusionPipeline.from_pretrained(tmp_path, box_scheduler=changed)
    assert other.box_scheduler is changed
    again.save_pretrained(tmp_path / "twice")
    for name in files - {"detector/config.json", "model_index.json"}:  # those name where they were loaded from
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_what_is_no_pipeline_of_ours_is_refused(make_pair: MakePair, tmp_path: Path) -> None:
    saved, load = tmp_path / "saved", HybridDiffusionPipeline.from_pretrained
    make_pair("plain")[1].save_pretrained(saved)
    with pytest.raises(ValueError, match="nowhere: no model_index.json there; give a directory that save_pretrained"):
        load(tmp_path / "nowhere")
    with pytest.raises(AttributeError, match="HybridDiffusionPipeline"):  # it knows only its own: see docs/diffusers.md
        DiffusionPipeline.from_pretrained(saved)
    index = saved / "model_index.json"
    before = json.loads(index.read_text())
    index.write_text(json.dumps({**before, "detector": ["antigravity", "fly"]}))
    with pytest.raises(
        ValueError, match=r"model_index.json: detector: \['antigravity', 'fly'\] is no component of c2o"
    ):
        load(saved)
    index.write_text("{")
    with pytest.raises(ValueError, match="model_index.json: is not JSON"):
        load(saved)
    index.write_text(json.dumps(before))
    with pytest.raises(ConfigError, match="torch_dtype: torch.float16, but the detector computes in float32"):
        load(saved, torch_dtype=torch.float16)
    half = load(saved)
    half.to(torch.float16)
    with pytest.raises(ValueError, match="the detector computes in float32, not in torch.float16; load it again"):
        half(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_neither_code_nor_pickles_of_a_directory_are_run(make_pair: MakePair, tmp_path: Path) -> None:
    load = HybridDiffusionPipeline.from_pretrained
    make_pair("plain")[1].save_pretrained(tmp_path)
    for name in ("detector/c2o_model.diffusers.detector.py", "None.py", "evil.py"):
        if name == "evil.py":
            index = json.loads((tmp_path / "model_index.json").read_text())
            (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": ["evil", "Evil"]}))
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        with pytest.raises(ValueError, match=f"{name}: code is not run, and save_pretrained writes none; remove it"):
            load(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "detector" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, tmp_path / "detector" / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match="diffusion_pytorch_model.safetensors"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()
