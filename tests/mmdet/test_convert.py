"""Checkpoints there and back: the same bits, the same numbers under the right names, and errors of one line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer
from torch import Tensor

from c2o_model.checkpoint import read_checkpoint, save_checkpoint
from c2o_model.config import load_config
from c2o_model.mmdet3 import convert
from c2o_model.mmdet3.from_c2o import model_config
from c2o_model.mmdet3.names import to_our_layout, to_their_layout
from tests.mmdet.pairs import SHOWN

DIGITS = "configs/models/digits/small.yaml"
_built = convert._own_state  # building a model takes longer than its conversion: here once for each
COCO = "configs/models/coco/diffusiondet_r50.yaml"


@cache
def configuration(name: str) -> CfgNode:
    path, opts, _ = SHOWN[name]
    return load_config(path, opts)


@cache
def own_state(name: str) -> dict[str, Tensor]:
    return _built(configuration(name))


def drawn(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Any bits of the shapes of a state: also infinities, and counters."""
    generator = torch.Generator().manual_seed(seed)
    new = {}
    for name, value in state.items():
        if value.is_floating_point():
            bits = torch.randint(-(2**31), 2**31 - 1, value.shape, generator=generator).to(torch.int32)
            new[name] = bits.view(torch.float32)
        else:
            new[name] = torch.randint(0, 1000, value.shape, generator=generator)
    return new


def same_bits(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    def bits(value: Tensor) -> Tensor:
        return value.contiguous().view(torch.int32) if value.is_floating_point() else value

    return a.keys() == b.keys() and all(torch.equal(bits(a[name]), bits(b[name])) for name in a)


@pytest.mark.stack_feature("checkpoint_from_c2o", "checkpoint_to_c2o", stack="mmdet")
@pytest.mark.parametrize("name", list(SHOWN))
def test_there_and_back_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state(name))
    state = drawn(own_state(name), 1)
    theirs = convert.to_mmdet(state, configuration(name))
    assert same_bits(convert.to_c2o(theirs, configuration(name)), state)
    names = MODELS.build(model_config(configuration(name))).state_dict()
    assert {n: v.shape for n, v in theirs.items()} == {n: v.shape for n, v in names.items()}


@pytest.mark.parametrize("name", ["digits_all_switches", "r50", "swin_b"])
def test_back_and_there_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state(name))
    cfg = configuration(name)
    shapes = convert.to_mmdet(own_state(name), cfg)
    state = drawn(shapes, 2)
    if name == "r50":  # frozen norms count nothing: their counters stay at zero
        state.update({n: torch.zeros_like(v) for n, v in state.items() if n.endswith("num_batches_tracked")})
    assert same_bits(convert.to_mmdet(convert.to_c2o(state, cfg), cfg), state)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 40), rows=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_the_merging_layers_channels_go_there_and_back(width: int, rows: int, seed: int) -> None:
    name = "backbone.bottom_up.features.2.reduction.weight"
    value = torch.randn(rows, 4 * width, generator=torch.Generator().manual_seed(seed))
    theirs = to_their_layout(name, value)
    assert torch.equal(to_our_layout(name, theirs), value)
    # By hand: unfold lists the 2x2 quarters of one channel side by side, row by row; torchvision lists all channels of
    # (row 0, column 0), then (1, 0), (0, 1), (1, 1).
    for channel in range(width):
        for quarter, place in enumerate([0, 2, 1, 3]):
            assert torch.equal(theirs[:, 4 * channel + place], value[:, quarter * width + channel])


def checkpoint(path: Path, name: str = "digits_all_switches") -> dict[str, Tensor]:
    state = {n: v.clone() for n, v in own_state(name).items()}
    save_checkpoint(path, state, {"train_seed": "4", "config_sha256": "ab"})
    return state


SWITCHES = SHOWN["digits_all_switches"][1]


def run(direction: str, a: Path, b: Path, *more: str, cfg: str = DIGITS, opts: Sequence[Any] = SWITCHES) -> int:
    return convert.main([direction, str(a), str(b), "--config-file", cfg, *more, *map(str, opts)])


@pytest.mark.stack_feature("checkpoint_from_c2o", "checkpoint_to_c2o", stack="mmdet")
def test_files_there_and_back_with_metadata_and_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = tmp_path / "a.safetensors", tmp_path / "b.pth", tmp_path / "c.safetensors"
    state = checkpoint(a)
    assert run("to-mmdet", a, b) == 0 and run("to-c2o", b, c) == 0
    digest_a, digest_b = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (a, b))
    assert capsys.readouterr().out.startswith(f"wrote {b} (sha256 {digest_b}, {len(state)} tensors)\nwrote {c} ")
    loaded = torch.load(b, weights_only=True)
    told = {"train_seed": "4", "config_sha256": "ab"}
    assert loaded["meta"] == {"c2o": {**told, "parent_sha256": digest_a}}
    back, metadata = read_checkpoint(c)  # checks the digest beside it
    assert same_bits(back, state) and metadata == {**told, "parent_sha256": digest_b}


def test_a_pretrained_backbone_is_converted_without_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state("digits"))
    state = {n: v for n, v in own_state("digits").items() if n.startswith("backbone.")}
    extra = {"predictor.weight": torch.ones(1), "backbone.bottom_up.stem.conv1.norm.num_batches_tracked": torch.ones(1)}
    assert same_bits(convert.to_mmdet({**state, **extra}, configuration("digits")), state)


def test_released_names_and_buffers_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state("swin_b"))
    state, cfg = own_state("swin_b"), configuration("swin_b")
    lower = "backbone.bottom_up."
    released = {"betas": torch.ones(1000)}
    for name, value in state.items():  # the names of the original code, said by hand
        stage = name.removeprefix(f"{lower}features.").partition(".")[0]
        if name.startswith(f"{lower}features.0.0."):
            name = name.replace("features.0.0.", "patch_embed.proj.")
        elif name.startswith(f"{lower}features.0.2."):
            name = name.replace("features.0.2.", "patch_embed.norm.")
        elif name.startswith(f"{lower}features.") and int(stage) % 2:
            name = name.replace(f"features.{stage}.", f"layers.{int(stage) // 2}.blocks.")
            name = name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
        elif name.startswith(f"{lower}features."):
            name = name.replace(f"features.{stage}.", f"layers.{int(stage) // 2 - 1}.downsample.")
        released[name] = value.reshape(49, 49) if name.endswith("relative_position_index") else value
    assert f"{lower}layers.2.blocks.17.mlp.fc1.weight" in released
    assert same_bits(convert.to_mmdet(released, cfg), convert.to_mmdet(state, cfg))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1
    return text.removeprefix("error: ").rstrip("\n")


def test_wrong_files_are_errors_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.pth"
    checkpoint(a)
    assert run("to-mmdet", a, tmp_path / "b.bin") == 2
    assert error(capsys) == f"{tmp_path / 'b.bin'}: the name must end in .pth"
    assert run("to-c2o", b, tmp_path / "c.safetensors") == 2
    assert error(capsys) == f"{b}: no such checkpoint"
    assert run("to-mmdet", a, b, cfg=COCO, opts=()) == 2
    assert error(capsys).startswith(f"{a}: lacks backbone.bottom_up.res2.0.conv3.norm.bias, ")
    assert run("to-mmdet", a, b) == 0
    assert run("to-mmdet", a, b) == 2
    assert f"{b}: is there already; move it away, or give --force" in capsys.readouterr().err
    assert run("to-mmdet", a, b, "--force") == 0
    capsys.readouterr()
    a.write_bytes(a.read_bytes()[:-1])
    assert run("to-mmdet", a, b, "--force") == 2
    assert "the file was changed or truncated; it is not loaded" in error(capsys)


def test_what_a_runner_saves_is_read(tmp_path: Path) -> None:
    buffer = HistoryBuffer([1.5, 2.5], [1, 1])
    torch.save(
        {"meta": {"iter": 30, "time": "now"}, "state_dict": own_state("r18"), "message_hub": buffer}, tmp_path / "b"
    )
    state, metadata = convert.read_mmdet(tmp_path / "b")
    assert same_bits(state, own_state("r18")) and metadata == {"iterations": "30"}


class Trap:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it-was-run"),))


def test_nothing_of_a_foreign_file_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    b, c = tmp_path / "b.pth", tmp_path / "c.safetensors"
    torch.save({"state_dict": {"bbox_head.x": torch.zeros(1)}, "message_hub": Trap()}, b)
    assert run("to-c2o", b, c) == 2
    assert error(capsys).startswith(f"{b}: refused: it does not load with weights_only=True (")
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    assert run("to-c2o", b, c) == 2
    assert error(capsys).endswith("; what a Runner saves beside weights is only read after `make mmdet`")
    assert not Path("it-was-run").exists() and not c.exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": {}}, "holds no state_dict of tensors; is it a checkpoint of MMDetection?"),
        ({"state_dict": {"a": 1}}, "holds no state_dict of tensors; is it a checkpoint of MMDetection?"),
        ({"state_dict": {"neck.x": torch.zeros(1)}}, "has unexpected neck.x; is --config-file that of its model?"),
    ],
)
def test_what_is_no_such_checkpoint_of_mmdetection(
    state: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = tmp_path / "b.pth"
    torch.save(state, b)
    assert run("to-c2o", b, tmp_path / "c.safetensors") == 2
    assert error(capsys) == f"{b}: {message}"


def test_missing_and_more_tensors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state("digits"))
    theirs = convert.to_mmdet(own_state("digits"), configuration("digits"))
    lacking = sorted(name for name in theirs if name.startswith("bbox_head.head_series.1."))
    short = {name: value for name, value in theirs.items() if name not in lacking}
    first = ", ".join(name.removeprefix("bbox_") for name in lacking[:3])
    with pytest.raises(RuntimeError, match=f"^lacks {first} and {len(lacking) - 3} more; is --config-file that of its"):
        convert.to_c2o(short, configuration("digits"))


def test_another_shape_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_own_state", lambda cfg: own_state("digits"))
    state = {**own_state("digits"), "head.time_mlp.1.bias": torch.zeros(3)}
    with pytest.raises(RuntimeError, match="^has another shape for head.time_mlp.1.bias; is --config-file that of its"):
        convert.to_mmdet(state, configuration("digits"))
