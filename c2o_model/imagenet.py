"""Make a starting checkpoint from published ImageNet weights: the trunk from the file, the pyramid freshly drawn.

    python -m c2o_model.imagenet resnet50-0676ba61.pth weights/r50.safetensors \\
        --config-file configs/models/recipes/coco_r50.yaml
    python -m c2o_model.imagenet swin_base_patch4_window7_224_22k.pth weights/swin_b.safetensors \\
        --config-file configs/models/recipes/coco_swin_b.yaml

IN is a state dict as torchvision publishes it for its ResNets and Swins, or as Swin's authors do ({"model": …}); it is
read with weights_only=True. The classifier is dropped. What the trunk has and the file lacks (the norms of Swin's maps)
keeps its initial value. OUT has no head: a training from it draws its own, by its train seed; the pyramid's weights
come from --seed, alike for all trainings from OUT. OUT serves every recipe with that trunk.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_model.determinism import pin_environment

if TYPE_CHECKING:
    from torch import Tensor

TRUNK = "backbone.bottom_up."
DROPPED = re.compile(r"(?:fc|head|norm)\.|.*(?:num_batches_tracked|attn_mask)$")  # classifiers, counters, constants
MAY_LACK = re.compile(r"norm\d\.")  # of each map of Swin, which classifiers do not have
_RESNET = (
    (re.compile(r"^(?=conv1\.|bn1\.)"), "stem."),
    (re.compile(r"^layer(\d)\."), lambda found: f"res{int(found[1]) + 1}."),
    (re.compile(r"\.downsample\.0\."), ".shortcut."),
    (re.compile(r"\.downsample\.1\."), ".shortcut.norm."),
    (re.compile(r"\bbn(\d)\."), r"conv\1.norm."),
)
USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    args = _parser().parse_args(argv)
    pin_environment()
    from c2o_model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
    from c2o_model.config import ConfigError, load_config

    source, target = Path(args.source), Path(args.target)
    try:
        if target.suffix != ".safetensors":
            raise CheckpointError(f"{target}: the name must end in .safetensors")
        if target.exists() and not args.force:
            raise CheckpointError(f"{target}: is there already; move it away, or give --force")
        cfg = load_config(args.config_file, ["MODEL.DEVICE", "cpu"])
        state = start(cfg, read_checkpoint(source)[0], args.seed, str(source))
        with open(source, "rb") as stream:
            parent = hashlib.file_digest(stream, "sha256").hexdigest()
        digest = save_checkpoint(target, state, {"parent_sha256": parent, "seed_of_pyramid": str(args.seed)})
    except (CheckpointError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(f"wrote {target} (sha256 {digest})")
    return 0


def start(cfg: Any, published: Mapping[str, Tensor], seed: int, where: str) -> dict[str, Tensor]:
    """The backbone's state, ``backbone.…``, of a detector of ``cfg`` with the published trunk.

    Args:
        published: state dict of a classifier.
        seed: decides the pyramid's initial weights.
        where: the file, for messages.

    Raises:
        CheckpointError: the file is of another trunk than ``cfg``.
    """
    import torch
    from detectron2.modeling import build_backbone

    from c2o_model.checkpoint import CheckpointError
    from c2o_model.determinism import derive_seed
    from c2o_model.modeling import detector as _  # noqa: F401  (registers the backbones)

    torch.manual_seed(derive_seed("init", seed))
    own = {f"backbone.{name}": value for name, value in build_backbone(cfg).state_dict().items()}
    trunk = {name for name in own if name.startswith(TRUNK)}
    found = {our_name(name): value for name, value in published.items() if not DROPPED.match(name)}
    # The index of relative positions, a constant, lies flat here.
    found = {n: v.flatten() if n.endswith(".relative_position_index") else v for n, v in found.items()}
    lacking = sorted(n for n in trunk - set(found) if not MAY_LACK.match(n.removeprefix(TRUNK)))
    unused = sorted(set(found) - trunk)
    shapes = sorted(n for n in trunk & set(found) if own[n].shape != found[n].shape)
    for what, names in (("lacks", lacking), ("has unexpected", unused), ("has another shape for", shapes)):
        if names:
            raise CheckpointError(
                f"{where}: {what} {', '.join(names[:3])}; is it of {cfg.MODEL.BACKBONE.NAME}'s trunk?"
            )
    return {**own, **found}


def our_name(name: str) -> str:
    """The name here of a parameter of a published ResNet or Swin: ``layer1.0.bn2.bias`` is res2's conv2.norm.bias."""
    from c2o_model.released import our_name as of_released_swin

    if name.startswith(("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")):
        for pattern, ours in _RESNET:
            name = pattern.sub(ours, name)
    return of_released_swin(TRUNK + name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.imagenet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="published weights of a classifier, .pth")
    parser.add_argument("target", metavar="OUT", help="the checkpoint to start from, NAME.safetensors")
    parser.add_argument("--config-file", required=True, metavar="FILE", help="a configuration with that trunk")
    parser.add_argument("--seed", type=int, default=0, help="of the pyramid's initial weights (default: 0)")
    parser.add_argument("--force", action="store_true", help="write OUT though it is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
