"""Published ImageNet weights as a start: torchvision's own classifiers, random, must see what the trunk here sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from torch import nn

from c2o_model import imagenet
from c2o_model.checkpoint import read_checkpoint
from c2o_model.config import load_config
from c2o_model.training.run import init_weights

RECIPES = Path(__file__).parents[2] / "configs" / "models" / "recipes"
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "64", "MODEL.DiffusionDet.HIDDEN_DIM", "64",
         "MODEL.DiffusionDet.NUM_HEADS", "1", "MODEL.DiffusionDet.DIM_DYNAMIC", "8"]  # fmt: skip


@pytest.fixture(autouse=True)
def kernels_as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def shaken(model: nn.Module) -> nn.Module:
    """With statistics and biases that are not 0 or 1, so that a swap of two of them shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and value.dim() == 1:
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name or "weight" in name else 0))
    return model.eval()


def test_resnet50_sees_what_torchvisions_sees() -> None:
    theirs = shaken(torchvision.models.resnet50())
    cfg = load_config(RECIPES / "coco_r50.yaml", SMALL)
    model = build_model(cfg).eval()
    state = imagenet.start(cfg, theirs.state_dict(), 0, "here")
    model.backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items()})
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = model.backbone.bottom_up(x)["res5"]
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
    assert expected.std() > 0 and torch.allclose(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_swin_sees_what_torchvisions_sees() -> None:
    theirs = shaken(torchvision.models.swin_t())
    cfg = load_config(RECIPES / "coco_swin_b.yaml", [*SMALL, "MODEL.SWIN.SIZE", "T"])
    model = build_model(cfg).eval()
    state = imagenet.start(cfg, theirs.state_dict(), 0, "here")
    model.backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items()})
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = model.backbone.bottom_up.features(x), theirs.features(x)
    assert expected.std() > 0 and torch.allclose(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_names_of_swins_authors() -> None:
    for theirs, ours in {
        "patch_embed.proj.weight": "features.0.0.weight",
        "layers.2.blocks.17.mlp.fc2.bias": "features.5.17.mlp.3.bias",
        "layers.0.downsample.reduction.weight": "features.2.reduction.weight",
        "layers.3.blocks.1.attn.relative_position_index": "features.7.1.attn.relative_position_index",
    }.items():
        assert imagenet.our_name(theirs) == f"backbone.bottom_up.{ours}"
    for dropped in ("head.weight", "norm.bias", "fc.weight", "layers.0.blocks.1.attn_mask", "bn1.num_batches_tracked"):
        assert imagenet.DROPPED.match(dropped)
    for kept in ("norm1.weight", "features.1.0.norm1.weight", "layer1.0.bn1.weight", "layers.0.blocks.0.norm1.bias"):
        assert not imagenet.DROPPED.match(kept)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "r18.pth", tmp_path / "weights" / "r18.safetensors"
    theirs = shaken(torchvision.models.resnet18())
    torch.save(theirs.state_dict(), source)
    base, config = RECIPES / "coco_r50.yaml", tmp_path / "r18.yaml"
    config.write_text(
        f"_BASE_: {base}\nMODEL: {{RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64}}, FPN: {{OUT_CHANNELS: 64}},"
        " DiffusionDet: {HIDDEN_DIM: 64}}\n"
    )
    command = [str(source), str(out), "--config-file", str(config)]
    assert imagenet.main(command) == 0
    state, metadata = read_checkpoint(out)
    assert metadata == {"parent_sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "seed_of_pyramid": "0"}
    assert torch.equal(state["backbone.bottom_up.res3.1.conv2.norm.bias"], theirs.state_dict()["layer2.1.bn2.bias"])
    model: Any = build_model(load_config(config, SMALL))
    head = {k: v.clone() for k, v in model.head.state_dict().items()}
    init_weights(model, out)
    assert torch.equal(model.backbone.state_dict()["fpn_lateral2.weight"], state["backbone.fpn_lateral2.weight"])
    assert all(torch.equal(v, head[k]) for k, v in model.head.state_dict().items())  # drawn by the training itself
    assert imagenet.main(command) == 2 and "is there already; move it away" in capsys.readouterr().err
    before = out.read_bytes()
    assert imagenet.main([*command, "--force"]) == 0 and out.read_bytes() == before
    assert imagenet.main([*command, "--force", "--seed", "2"]) == 0 and out.read_bytes() != before
    wrong = [str(source), str(tmp_path / "x.safetensors"), "--config-file", str(base)]
    assert imagenet.main(wrong) == 2
    said = capsys.readouterr().err
    assert f"error: {source}: lacks backbone.bottom_up.res2.0.conv3.norm.bias, " in said
    assert "is it of build_resnet_fpn_backbone's trunk?" in said
    assert imagenet.main([str(source), str(tmp_path / "x.pth"), "--config-file", str(base)]) == 2
    assert "the name must end in .safetensors" in capsys.readouterr().err
