"""What training and testing through mmengine's Runner share: the command line, pins, and what may be unpickled."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from c2o_model.determinism import pin_environment, set_deterministic
from c2o_model.keys import ConfigError

USER_ERROR = 2
NEEDED = ("mmdet", "mmengine", "mmcv")


def need_mmdet() -> None:
    """Raises ConfigError where MMDetection is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"MMDetection: {', '.join(missing)} is not installed; `make mmdet` installs it")


def run(work: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Do ``work`` on one thread with deterministic kernels; 0, or 2 with one line on stderr about what the user can
    mend.
    """
    pin_environment()
    try:
        need_mmdet()
        from c2o_model.checkpoint import CheckpointError
        from c2o_model.data.errors import DataError
    except ConfigError as error:
        return _told(error)
    set_deterministic(1)
    try:
        work(args)
    except FileNotFoundError as error:
        return _told(ConfigError(f"{error.filename}: no such file; docs/mmdetection.md says how data sets are made"))
    except (ConfigError, CheckpointError, DataError, OSError) as error:
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    print(f"error: {str(error).strip()}", file=sys.stderr)
    return USER_ERROR


def seed(text: str) -> int:
    """A seed of the command line, for argparse."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The arguments that both commands have."""
    parser.add_argument("config", metavar="CONFIG", help="configuration of mmengine, e.g. configs/mmdet/toy.py")
    parser.add_argument("--work-dir", metavar="DIR", help="where all that is written goes (default: runs/mmdet/NAME)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="K=V",
        help="values of the configuration, e.g. train_dataloader.batch_size=4 optim_wrapper.clip_grad.max_norm=0.5",
    )


def configuration(args: argparse.Namespace) -> Any:
    """mmengine's Config of the command line, its work directory set, our classes registered.

    Raises:
        ConfigError: the file or an option cannot be used.
    """
    from mmengine.config import Config

    path = Path(args.config)
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration; those of C2O are in configs/mmdet")
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options(args.cfg_options))
    except ConfigError:
        raise
    except Exception as error:  # it is Python, and mmengine raises anything
        first: BaseException = error
        while first.__cause__ or first.__context__:
            first = first.__cause__ or first.__context__ or first
        why = (str(first).strip() or "without a word").splitlines()[0]
        raise ConfigError(f"{path}: cannot be used ({type(first).__name__}: {why})") from error
    if "model" not in cfg:
        raise ConfigError(f"{path}: has no model; begin with _base_ = one of configs/mmdet/_base_/models")
    from c2o_model.mmdet3 import detector as _detector  # noqa: F401  (registers C2OGND)
    from c2o_model.mmdet3 import results as _results  # noqa: F401  (registers C2OResults)

    cfg.work_dir = args.work_dir or cfg.get("work_dir") or str(Path("runs/mmdet") / path.stem)
    return cfg


def built(cfg: Any, args: argparse.Namespace) -> Any:
    """mmengine's Runner of a configuration.

    Raises:
        ConfigError: the model or the running cannot be built of it.
    """
    from mmengine.runner import Runner

    try:
        return Runner.from_cfg(cfg)
    except ConfigError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another's classes, which take any key
        why = str(error.args[0] if error.args else error).splitlines()[0]
        raise ConfigError(f"{args.config}: cannot be built ({type(error).__name__}: {why})") from error


def options(given: Sequence[str]) -> dict[str, Any]:
    """``K=V`` as values: Python literals where they are some, else texts.

    Raises:
        ConfigError: one is not K=V.
    """
    found: dict[str, Any] = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not (key and equals):
            raise ConfigError(f"--cfg-options: {item!r} is not K=V")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


STATISTICS = ("min", "max", "current", "mean")


@contextmanager
def runner_files() -> Iterator[None]:
    """Let torch load, with weights_only=True, what a Runner saves beside weights: its log of losses, as arrays."""
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer

    def method(owner: object, name: str) -> Any:
        """In place of getattr, by which such a file names the log's own statistics."""
        if owner is not HistoryBuffer or name not in STATISTICS:
            raise ValueError(f"{name} of {owner} is not what a Runner saves")
        return getattr(HistoryBuffer, name)

    arrays = (np.ndarray, np.dtype, np._core.multiarray._reconstruct, np._core.multiarray.scalar)
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    with torch.serialization.safe_globals([HistoryBuffer, *arrays, *kinds, (method, "builtins.getattr")]):
        yield
