"""Released DiffusionDet files: every name and shape written out from the papers' architectures, and where it goes here.

`python tests/c2o_model/test_released.py` writes docs/released-checkpoints.md anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn
from torch.nn import functional as F

from c2o_model.checkpoint import SCHEDULE_BUFFERS, CheckpointError, load_weights
from c2o_model.config import load_config
from c2o_model.modeling import detector as _  # noqa: F401  (registers the detector)
from c2o_model.modeling.swin import Swin, SwinSize
from c2o_model.released import our_name, to_our_names

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "released-checkpoints.md"
Shapes = dict[str, tuple[int, ...]]
CONFIGS = {"R50": "diffusiondet_r50", "Swin-B": "diffusiondet_swin_b"}


def linear(name: str, out: int, inp: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, inp), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def fpn(widths: tuple[int, ...]) -> Shapes:
    found: Shapes = {}
    for level, width in zip((2, 3, 4, 5), widths, strict=True):
        for kind, inp, kernel in (("lateral", width, 1), ("output", 256, 3)):
            found[f"backbone.fpn_{kind}{level}.weight"] = (256, inp, kernel, kernel)
            found[f"backbone.fpn_{kind}{level}.bias"] = (256,)
    return found


def head() -> Shapes:
    found = linear("head.time_mlp.1", 1024, 256) | linear("head.time_mlp.3", 1024, 1024)
    for i in range(6):
        at = f"head.head_series.{i}"
        found |= {f"{at}.self_attn.in_proj_weight": (768, 256), f"{at}.self_attn.in_proj_bias": (768,)}
        found |= linear(f"{at}.self_attn.out_proj", 256, 256)
        found |= linear(f"{at}.inst_interact.dynamic_layer", 2 * 256 * 64, 256)
        found |= linear(f"{at}.inst_interact.out_layer", 256, 49 * 256)
        for number, width in ((1, 64), (2, 256), (3, 256)):
            found |= norm(f"{at}.inst_interact.norm{number}", width) | norm(f"{at}.norm{number}", 256)
        found |= linear(f"{at}.linear1", 2048, 256) | linear(f"{at}.linear2", 256, 2048)
        found |= linear(f"{at}.block_time_mlp.1", 512, 1024)
        for module, count in (("cls_module", 1), ("reg_module", 3)):  # Linear without bias, LayerNorm, ReLU
            for k in range(count):
                found |= linear(f"{at}.{module}.{3 * k}", 256, 256, bias=False) | norm(
                    f"{at}.{module}.{3 * k + 1}", 256
                )
        found |= linear(f"{at}.class_logits", 80, 256) | linear(f"{at}.bboxes_delta", 4, 256)
    return found


def resnet50() -> Shapes:
    found: Shapes = {}

    def conv(name: str, out: int, inp: int, kernel: int) -> None:
        found[f"backbone.bottom_up.{name}.weight"] = (out, inp, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"backbone.bottom_up.{name}.norm.{part}"] = (out,)

    conv("stem.conv1", 64, 3, 7)
    inp = 64
    for stage, blocks, width in ((2, 3, 64), (3, 4, 128), (4, 6, 256), (5, 3, 512)):
        for block in range(blocks):
            at = f"res{stage}.{block}"
            if block == 0:
                conv(f"{at}.shortcut", 4 * width, inp, 1)
            conv(f"{at}.conv1", width, inp, 1)
            conv(f"{at}.conv2", width, width, 3)
            conv(f"{at}.conv3", 4 * width, width, 1)
            inp = 4 * width
    return found


def swin(width: int, depths: tuple[int, ...], heads: tuple[int, ...]) -> Shapes:
    at = "backbone.bottom_up"
    found: Shapes = {f"{at}.patch_embed.proj.weight": (width, 3, 4, 4), f"{at}.patch_embed.proj.bias": (width,)}
    found |= norm(f"{at}.patch_embed.norm", width)
    for i, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        c = width * 2**i
        for j in range(depth):
            block = f"{at}.layers.{i}.blocks.{j}"
            found |= norm(f"{block}.norm1", c) | norm(f"{block}.norm2", c)
            found |= linear(f"{block}.attn.qkv", 3 * c, c) | linear(f"{block}.attn.proj", c, c)
            found |= linear(f"{block}.mlp.fc1", 4 * c, c) | linear(f"{block}.mlp.fc2", c, 4 * c)
            found[f"{block}.attn.relative_position_bias_table"] = (13 * 13, count)
            found[f"{block}.attn.relative_position_index"] = (49, 49)
        if i < 3:
            found |= linear(f"{at}.layers.{i}.downsample.reduction", 2 * c, 4 * c, bias=False)
            found |= norm(f"{at}.layers.{i}.downsample.norm", 4 * c)
        found |= norm(f"{at}.norm{i}", c)
    return found


RELEASED = {
    "R50": fpn((256, 512, 1024, 2048)) | resnet50() | head(),
    "Swin-B": fpn((128, 256, 512, 1024)) | swin(128, (2, 2, 18, 2), (4, 8, 16, 32)) | head(),
}


def built(which: str) -> nn.Module:
    """Our detector without memory for its weights."""
    cfg = load_config(ROOT / "configs" / "models" / "coco" / f"{CONFIGS[which]}.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model: nn.Module = build_model(cfg)
    return model


@pytest.mark.parametrize("which", RELEASED)
def test_every_parameter_has_its_place_and_none_is_left_over(which: str) -> None:
    theirs = {name: torch.empty(shape, device="meta") for name, shape in RELEASED[which].items()}
    ours = {name: tuple(value.shape) for name, value in built(which).state_dict().items()}
    assert {name: tuple(value.shape) for name, value in to_our_names(theirs).items()} == ours


def test_a_file_with_wrapper_and_buffers_loads_and_a_wrong_one_is_named(tmp_path: Path, make_detector) -> None:
    model = make_detector()
    wanted = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    buffers = {name: torch.zeros(1000) for name in SCHEDULE_BUFFERS}
    torch.save({"model": {**wanted, **buffers}, "iteration": 7}, tmp_path / "m.pth")
    load_weights(model, tmp_path / "m.pth")
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    wanted["head.head_series.0.unheard_of"] = torch.zeros(1)
    torch.save({"model": wanted}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="has unexpected head.head_series.0.unheard_of"):
        load_weights(model, tmp_path / "m.pth")


def test_swin_agrees_with_the_original_layers_written_out() -> None:
    """A small Swin under released names against plain code: loops over windows, masks from region numbers."""
    size = SwinSize(8, (2, 2, 2, 2), (1, 2, 2, 4), 0.0)
    torch.manual_seed(3)
    state = {name.removeprefix("backbone.bottom_up."): 0.3 * torch.randn(shape)
             for name, shape in swin(8, size.depths, size.heads).items()}  # fmt: skip
    index = relative_index()
    state |= {name: index for name in state if name.endswith("relative_position_index")}
    x = torch.randn(1, 3, 256, 320)
    model = Swin(size, (0, 1, 2, 3), use_checkpoint=False).eval()
    renamed = to_our_names({f"backbone.bottom_up.{name}": value for name, value in state.items()})
    model.load_state_dict({name.removeprefix("backbone.bottom_up."): value for name, value in renamed.items()})
    with torch.no_grad():
        found, expected = model(x), plain_swin(x, state, size)
    assert [tuple(found[f"swin{i}"].shape) for i in range(4)] == [(1, 8 << i, 64 >> i, 80 >> i) for i in range(4)]
    for i in range(4):
        torch.testing.assert_close(found[f"swin{i}"], expected[i], rtol=1e-5, atol=2e-5)


def relative_index() -> Tensor:
    """[49,49]: row of the bias table for query q and key k, (dy + 6) * 13 + (dx + 6)."""
    place = [(p // 7, p % 7) for p in range(49)]
    return torch.tensor([[(q[0] - k[0] + 6) * 13 + q[1] - k[1] + 6 for k in place] for q in place])


def plain_swin(x: Tensor, state: dict[str, Tensor], size: SwinSize) -> list[Tensor]:
    def ln(value: Tensor, name: str) -> Tensor:
        return F.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def attend(tokens: Tensor, region: Tensor, name: str, heads: int) -> Tensor:
        """tokens [49,C] of one window; tokens of different regions do not see each other (-100)."""
        q, k, v = F.linear(tokens, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"]).chunk(3, -1)
        bias = state[f"{name}.relative_position_bias_table"][relative_index()]  # [49,49,heads]
        wide, parts = q.shape[1] // heads, []
        for h in range(heads):
            cut = slice(h * wide, (h + 1) * wide)
            weight = q[:, cut] @ k[:, cut].T / wide**0.5 + bias[..., h] - 100.0 * (region[:, None] != region[None])
            parts.append(weight.softmax(-1) @ v[:, cut])
        return F.linear(torch.cat(parts, -1), state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])

    def band(length: int, shift: int) -> Tensor:
        place = torch.arange(length)
        return (place >= length - 7).long() + (place >= length - shift).long() if shift else torch.zeros(length).long()

    def block(value: Tensor, name: str, heads: int, shift: int) -> Tensor:
        height, width, c = value.shape
        padded = F.pad(ln(value, f"{name}.norm1"), (0, 0, 0, -width % 7, 0, -height % 7)).roll((-shift, -shift), (0, 1))
        rows, columns = padded.shape[:2]
        region = 3 * band(rows, shift)[:, None] + band(columns, shift)
        out = torch.zeros_like(padded)
        for top in range(0, rows, 7):
            for left in range(0, columns, 7):
                window = (slice(top, top + 7), slice(left, left + 7))
                tokens = attend(padded[window].reshape(49, c), region[window].reshape(49), f"{name}.attn", heads)
                out[window] = tokens.view(7, 7, c)
        value = value + out.roll((shift, shift), (0, 1))[:height, :width]
        hidden = F.gelu(
            F.linear(ln(value, f"{name}.norm2"), state[f"{name}.mlp.fc1.weight"], state[f"{name}.mlp.fc1.bias"])
        )
        return value + F.linear(hidden, state[f"{name}.mlp.fc2.weight"], state[f"{name}.mlp.fc2.bias"])

    patches = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=4)[0]
    value = ln(patches.permute(1, 2, 0), "patch_embed.norm")
    found = []
    for i, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
        for j in range(depth):
            value = block(value, f"layers.{i}.blocks.{j}", heads, 3 * (j % 2))
        found.append(ln(value, f"norm{i}").permute(2, 0, 1)[None])
        if i < 3:
            four = torch.cat([value[0::2, 0::2], value[1::2, 0::2], value[0::2, 1::2], value[1::2, 1::2]], -1)
            merged = ln(four, f"layers.{i}.downsample.norm")
            value = F.linear(merged, state[f"layers.{i}.downsample.reduction.weight"])
    return found


def document() -> str:
    """The table of docs/released-checkpoints.md: parameters whose names differ in counters only share a line."""
    text = INTRO
    for which, released in RELEASED.items():
        lines: dict[tuple[str, str, str], int] = {}
        for name, shape in released.items():
            here = our_name(name) if which == "Swin-B" else name
            size = " x ".join(map(str, shape))
            if name.endswith("relative_position_index"):
                size += " (here 2401)"
            key = (general(name), size, "the same" if here == name else general(here))
            lines[key] = lines.get(key, 0) + 1
        total = sum(lines.values())
        text += f"\n## {which} (`configs/models/coco/{CONFIGS[which]}.yaml`, {total} tensors)\n\n"
        text += "| released file | shape | here | tensors |\n|---|---|---|---:|\n"
        text += "".join(
            f"| `{a}` | {b} | {c if c == 'the same' else f'`{c}`'} | {n} |\n" for (a, b, c), n in lines.items()
        )
    return text


def general(name: str) -> str:
    """Blocks and head stages as `*`; the stage of a backbone and places in a list of layers stay."""
    name = re.sub(r"(head_series|blocks|res\d)\.\d+\.", r"\1.*.", name)
    return re.sub(r"(features\.[1357])\.\d+\.", r"\1.*.", name)


INTRO = """# Released DiffusionDet checkpoints

A `.pth` file of the DiffusionDet release loads by name, with `weights_only=True` (nothing in it is executed). It may
be the bare state dict or have Detectron2's wrapper `{"model": …}`. The diffusion buffers in it (`betas`,
`alphas_cumprod`, …) are accepted and left out: they follow from the schedule. ResNet files keep their names; the names
of Swin are turned into torchvision's (`c2o_model/released.py`). Any other tensor that is missing, unexpected or of
another shape is an error that names it.

    python -m c2o_model.train_net --config-file configs/models/coco/diffusiondet_r50.yaml --eval-only \\
        MODEL.WEIGHTS /path/to/diffdet_coco_res50.pth MODEL.DiffusionDet.SAMPLER_COMPAT diffusiondet

`SAMPLER_COMPAT: diffusiondet` leaves the last step out of the ensemble, as the original does. Detectron2's `.pkl` files
are Python pickles and are refused; load one with Detectron2 and save its state dict with `torch.save`.

The tables list every tensor of the two architectures; `*` stands for the number of a block or of a head stage. They
are made and checked by `tests/c2o_model/test_released.py`.
"""


def test_the_documented_table_is_the_one_that_holds() -> None:
    assert DOC.read_text("utf-8") == document(), f"write it anew: python {Path(__file__).relative_to(ROOT)}"


if __name__ == "__main__":
    DOC.parent.mkdir(exist_ok=True)
    DOC.write_text(document(), "utf-8")
