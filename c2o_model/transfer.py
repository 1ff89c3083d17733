"""Give a detector's checkpoint the classes of another data set: Objects365 -> COCO or LVIS, COCO -> your own.

    python -m c2o_model.transfer runs/objects365_r50/model_final.safetensors weights/objects365_to_coco.safetensors \\
        --from objects365 --to coco --config-file configs/models/recipes/objects365_to_coco_r50.yaml

Rows of every tensor with a class dimension (class_logits of each stage, the label embedding) are copied for classes
with a counterpart; the others have the values that a training with --seed begins with. All other tensors are copied.
Beside OUT its digest and the map (OUT.classes.tsv) are written; OUT's metadata tell the digests of IN and of the map.
Which class is which: by name, and by configs/class_maps/FROM_to_TO.tsv where there is one (see --map).
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

    from c2o_model.data.class_map import ClassMap

CLASS_TENSORS = re.compile(
    r"head\.head_series\.\d+\.class_logits\.(?:weight|bias)|head\.label_embedding\.embedding\.weight"
)
USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    args = _parser().parse_args(argv)
    pin_environment()
    from c2o_model.checkpoint import CheckpointError
    from c2o_model.config import ConfigError
    from c2o_model.data.errors import DataError

    try:
        _run(args)
    except (CheckpointError, ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _run(args: argparse.Namespace) -> None:
    from c2o_model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint, write_file
    from c2o_model.config import load_config
    from c2o_model.data import class_map
    from c2o_model.released import to_our_names

    table = Path(args.map) if args.map else class_map.TABLES / f"{args.origin}_to_{args.to}.tsv"
    rows = class_map.read_table(table) if args.map or table.is_file() else {}
    mapped = class_map.match_classes(class_map.class_names(args.to), class_map.class_names(args.origin), rows)
    cfg = load_config(args.config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "''"])
    source, target = Path(args.source), Path(args.target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the name must end in .safetensors")
    if target.exists() and not args.force:
        raise CheckpointError(f"{target}: is there already; move it away, or give --force")
    state, metadata = read_checkpoint(source)
    new = transfer(cfg, to_our_names(state), mapped, args.seed, where=str(source))
    with open(source, "rb") as stream:
        parent = hashlib.file_digest(stream, "sha256").hexdigest()
    metadata = {
        **{f"parent_{key}": value for key, value in metadata.items() if not key.startswith("parent_")},
        "parent_sha256": parent,
        "class_map_sha256": mapped.sha256(),
        "class_map": f"{Path(args.origin).name} to {Path(args.to).name}",
        "seed_of_new_rows": str(args.seed),
    }
    digest = save_checkpoint(target, new, metadata)
    write_file(target.with_name(f"{target.name}.classes.tsv"), mapped.text())
    without = mapped.without()
    print(f"{len(mapped.rows) - len(without)} of {len(mapped.rows)} classes have the rows of a class of {args.origin}")
    if without:
        more = f" and {len(without) - 10} more" if len(without) > 10 else ""
        print(f"begin anew (seed {args.seed}): {', '.join(without[:10])}{more}")
    print(f"wrote {target} (sha256 {digest}) and {target.name}.classes.tsv")


def transfer(cfg: Any, state: Mapping[str, Tensor], mapped: ClassMap, seed: int, where: str) -> dict[str, Tensor]:
    """The state of a detector of ``cfg``, made from that of one with the source's classes.

    Args:
        cfg: configuration of the new detector; its NUM_CLASSES is that of the map's target.
        state: under our names. Modules that it predates stay out, as a training adds them.
        seed: train seed whose initial values the rows without a counterpart have.
        where: the checkpoint, for messages.

    Raises:
        ConfigError: NUM_CLASSES is not that of the target, or ``cfg`` is of no detector.
        CheckpointError: a tensor is missing, unexpected or of another shape.
    """
    import torch
    from detectron2.modeling import build_model

    from c2o_model.checkpoint import COUNTER, SCHEDULE_BUFFERS, CheckpointError
    from c2o_model.config import ConfigError
    from c2o_model.determinism import derive_seed
    from c2o_model.training.run import NEW_MODULES

    classes = cfg.MODEL.DiffusionDet.NUM_CLASSES
    if classes != len(mapped.target):
        raise ConfigError(f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but the target has {len(mapped.target)} classes")
    if cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        raise ConfigError(f"MODEL.META_ARCHITECTURE: {cfg.MODEL.META_ARCHITECTURE} has no head to give other classes")
    torch.manual_seed(derive_seed("init", seed))
    own = build_model(cfg).state_dict()
    state = {k: v for k, v in state.items() if k in own or not (k in SCHEDULE_BUFFERS or k.endswith(COUNTER))}
    lacking = [name for name in own if name not in state and not name.startswith(NEW_MODULES)]
    unused = [name for name in state if name not in own]
    new: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in own and CLASS_TENSORS.fullmatch(name):
            value = _rows(name, value, own[name], mapped, where)
        new[name] = value
    shapes = [name for name, value in new.items() if name in own and value.shape != own[name].shape]
    for what, names in (("lacks", lacking), ("has unexpected", unused), ("has another shape for", shapes)):
        if names:
            raise CheckpointError(
                f"{where}: {what} {', '.join(sorted(names)[:3])}; is --config-file that of its model?"
            )
    return new


def _rows(name: str, value: Tensor, initial: Tensor, mapped: ClassMap, where: str) -> Tensor:
    """``initial`` with the rows of the source's classes, and with its row after the classes (background, unknown)."""
    from c2o_model.checkpoint import CheckpointError

    more = len(initial) - len(mapped.target)
    if len(value) != len(mapped.source) + more or value.shape[1:] != initial.shape[1:]:
        raise CheckpointError(
            f"{where}: {name} is {' x '.join(map(str, value.shape))}, but --from has {len(mapped.source)} classes"
            f"{' and one row more' if more else ''}; is it of that set and of --config-file's model?"
        )
    new = initial.clone().to(value.dtype)
    for target, source in enumerate(mapped.rows):
        if source is not None:
            new[target] = value[source]
    if more:
        new[-more:] = value[-more:]
    return new


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.transfer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="checkpoint of a detector: .safetensors, or a released .pth")
    parser.add_argument("target", metavar="OUT", help="the new checkpoint, NAME.safetensors")
    sets = "coco, lvis, objects365, voc, crowdhuman, repro10k, a name in EXTRA_COCO_DATASETS or a COCO JSON"
    parser.add_argument("--from", required=True, dest="origin", metavar="SET", help=f"whose classes IN has: {sets}")
    parser.add_argument("--to", required=True, metavar="SET", help="whose classes OUT is to have, likewise")
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration of the new detector")
    parser.add_argument("--map", metavar="FILE", help="table of classes (default: configs/class_maps/FROM_to_TO.tsv)")
    parser.add_argument("--seed", type=int, default=0, help="train seed of the rows without counterpart (default: 0)")
    parser.add_argument("--force", action="store_true", help="write OUT though it is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
