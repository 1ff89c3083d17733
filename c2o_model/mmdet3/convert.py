"""Checkpoints of C2O for MMDetection, and back: the same numbers under other names.

    python -m c2o_model.mmdet3.convert to-mmdet model.safetensors model.pth --config-file CFG
    python -m c2o_model.mmdet3.convert to-c2o epoch_1.pth model.safetensors --config-file CFG

CFG is the C2O configuration of the model (YAML). A .safetensors is read only where its digest beside it holds, a .pth
with weights_only=True; a released DiffusionDet file counts as one of C2O. There and back gives the same bits. OUT
carries the metadata of IN and its sha256 (parent_sha256); a .safetensors gets its digest beside it. A pretrained
backbone without head is converted as it is. MMDetection is needed only to read what its Runner has saved.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_model.determinism import pin_environment

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor

PREDICTOR = "predictor."  # the dense head that a backbone was pretrained with; no detector has it
USER_ERROR = 2


def to_mmdet(state: Mapping[str, Tensor], cfg: CfgNode) -> dict[str, Tensor]:
    """The state dict of C2OGND that equals ``state`` (C2O's or released names) of the detector of ``cfg``.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape.
        ConfigError: MMDetection has no counterpart of the model.
    """
    import torch

    from c2o_model.checkpoint import COUNTER
    from c2o_model.mmdet3.names import counters_are_added, their_name, to_their_layout

    own = _own_state(cfg)
    state = _checked(_without_extras(state, own), own)
    theirs = {their_name(name, cfg): to_their_layout(name, value) for name, value in state.items()}
    if counters_are_added(cfg):
        for name in [n for n in theirs if n.endswith(".running_var")]:
            theirs.setdefault(name.removesuffix(".running_var") + COUNTER, torch.zeros((), dtype=torch.int64))
    return theirs


def to_c2o(state: Mapping[str, Tensor], cfg: CfgNode) -> dict[str, Tensor]:
    """The inverse of :func:`to_mmdet`. Raises as it does."""
    from c2o_model.checkpoint import COUNTER, CheckpointError
    from c2o_model.mmdet3.names import counters_are_added, their_name, to_our_layout

    own = _own_state(cfg)
    ours = {their_name(name, cfg): name for name in own}
    if counters_are_added(cfg):
        state = {name: value for name, value in state.items() if name in ours or not name.endswith(COUNTER)}
    unknown = sorted(name for name in state if name not in ours)
    if unknown:
        raise CheckpointError(f"has unexpected {_few(unknown)}; is --config-file that of its model?")
    return _checked({ours[name]: to_our_layout(ours[name], value) for name, value in state.items()}, own)


def _own_state(cfg: CfgNode) -> dict[str, Tensor]:
    """Names and shapes of the detector of ``cfg``, once it is known that MMDetection can have it."""
    from detectron2.modeling import build_model

    from c2o_model.config import default_config
    from c2o_model.mmdet3.from_c2o import model_config
    from c2o_model.modeling import detector as _detector  # noqa: F401  (registers META_ARCHITECTURE DiffusionDet)

    model_config(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = default_config().MODEL.DEVICE
    return dict(build_model(cfg).state_dict())


def _without_extras(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` under our names, without what no detector needs: schedule buffers, counters, a dense predictor."""
    from c2o_model.checkpoint import COUNTER, SCHEDULE_BUFFERS
    from c2o_model.released import to_our_names

    return {
        name: value
        for name, value in to_our_names(state).items()
        if name in own or not (name in SCHEDULE_BUFFERS or name.endswith(COUNTER) or name.startswith(PREDICTOR))
    }


def _checked(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from c2o_model.checkpoint import CheckpointError

    whole = any(name.startswith("head.") for name in state)
    lacking = [name for name in own if name not in state and (whole or not name.startswith("head."))]
    unused = [name for name in state if name not in own]
    shapes = [name for name, value in state.items() if name in own and value.shape != own[name].shape]
    for what, names in (("lacks", lacking), ("has unexpected", unused), ("has another shape for", shapes)):
        if names:
            raise CheckpointError(f"{what} {_few(sorted(names))}; is --config-file that of its model?")
    return state


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_mmdet(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """``state_dict`` of a checkpoint of MMDetection, with the metadata of the C2O checkpoint that it came from, if any.

    Raises:
        CheckpointError: as :func:`load_mmdet`.
    """
    state, meta = load_mmdet(path)
    told = c2o_metadata(meta)
    if type(meta.get("iter")) is int:  # a Runner has trained it
        told["iterations"] = str(meta["iter"])
    return state, told


def c2o_metadata(meta: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of the C2O checkpoint that a checkpoint with this ``meta`` came from, if any."""
    kept = meta.get("c2o")
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}


def load_mmdet(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """``state_dict`` and ``meta`` of a checkpoint of MMDetection.

    Raises:
        CheckpointError: the file is missing, needs more than weights_only=True, or holds no state dict.
    """
    import torch
    from torch import Tensor

    from c2o_model.checkpoint import CheckpointError
    from c2o_model.mmdet3.launch import runner_files

    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    runner = find_spec("mmengine") is not None
    try:
        with runner_files() if runner else nullcontext():
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on rubbish torch's unpickler raises nearly anything
        why = (str(error) or type(error).__name__).splitlines()[0]
        more = "" if runner else "; what a Runner saves beside weights is only read after `make mmdet`"
        raise CheckpointError(f"{path}: refused: it does not load with weights_only=True ({why}){more}") from error
    state = loaded.get("state_dict") if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state_dict of tensors; is it a checkpoint of MMDetection?")
    meta = loaded.get("meta")
    return {str(name): value for name, value in state.items()}, meta if isinstance(meta, dict) else {}


def _run(args: argparse.Namespace) -> str:
    import torch

    from c2o_model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint, write_file
    from c2o_model.config import ConfigError, load_config

    source, target = Path(args.source), Path(args.target)
    there = args.direction == "to-mmdet"
    suffix = ".pth" if there else ".safetensors"
    if target.suffix != suffix:
        raise CheckpointError(f"{target}: the name must end in {suffix}")
    if target.exists() and not args.force:
        raise CheckpointError(f"{target}: is there already; move it away, or give --force")
    cfg = load_config(args.config_file, args.opts)
    state, metadata = read_checkpoint(source) if there else read_mmdet(source)
    try:
        converted = to_mmdet(state, cfg) if there else to_c2o(state, cfg)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{args.config_file}: {error}") from None
    with open(source, "rb") as stream:
        parent = hashlib.file_digest(stream, "sha256").hexdigest()
    told = {**metadata, "parent_sha256": parent}
    if there:
        file = io.BytesIO()
        torch.save({"meta": {"c2o": told}, "state_dict": converted}, file)
        digest = hashlib.sha256(file.getvalue()).hexdigest()
        write_file(target, file.getvalue())
    else:
        digest = save_checkpoint(target, converted, told)
    return f"wrote {target} (sha256 {digest}, {len(converted)} tensors)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    args = _parser().parse_intermixed_args(argv)
    pin_environment()
    from c2o_model.checkpoint import CheckpointError
    from c2o_model.config import ConfigError

    try:
        print(_run(args))
    except (CheckpointError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.mmdet3.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("direction", choices=("to-mmdet", "to-c2o"), help="which way")
    parser.add_argument("source", metavar="IN", help="checkpoint to convert")
    parser.add_argument("target", metavar="OUT", help="the new file: NAME.pth of to-mmdet, NAME.safetensors of to-c2o")
    parser.add_argument("--config-file", required=True, metavar="CFG", help="C2O configuration of the model")
    parser.add_argument("--force", action="store_true", help="write OUT though it is there")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of CFG, as for c2o_model.train_net")
    return parser


if __name__ == "__main__":
    sys.exit(main())
