"""Test a checkpoint of MMDetection through mmengine's Runner.

    python -m c2o_model.mmdet3.test configs/mmdet/toy.py runs/mmdet/toy/epoch_6.pth
    python -m c2o_model.mmdet3.test configs/mmdet/toy.py runs/mmdet/toy/epoch_6.pth --eval-seeds 0 1 2 3 4

Prints CocoMetric's AP and writes the detections, below the work directory, to c2o/test, from which
``workflow/scripts/mmdet_results.py`` makes a results TSV and a record. The checkpoint is loaded with weights_only=True:
one that the Runner has written or that ``c2o_model.mmdet3.convert`` has converted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2o_model.mmdet3 import launch


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    return launch.run(_test, _parser().parse_args(argv))


def _test(args: argparse.Namespace) -> None:
    from c2o_model.mmdet3.results import CHECKPOINT

    cfg = launch.configuration(args)
    weights, seed = read_weights(Path(args.checkpoint))
    cfg.load_from, cfg.resume = None, False
    cfg.model.train_seed = seed
    runner = launch.built(cfg, args)
    load_into(runner.model, weights, args.checkpoint)
    runner.message_hub.update_info(CHECKPOINT, str(args.checkpoint), resumed=False)
    for seed in args.eval_seeds:
        runner.model.eval_seed = seed
        runner.test()


def read_weights(path: Path) -> tuple[dict[str, Any], int]:
    """State dict of a checkpoint of MMDetection and the train seed that it names (0 if none).

    Raises:
        CheckpointError: the file is missing, or needs more than weights_only=True.
    """
    from c2o_model.checkpoint import CheckpointError
    from c2o_model.mmdet3.convert import c2o_metadata, load_mmdet

    state, meta = load_mmdet(path)
    seed = c2o_metadata(meta).get("train_seed", meta.get("seed"))
    try:
        return state, int(seed or 0)
    except ValueError:
        raise CheckpointError(f"{path}: its train seed is {seed!r}") from None


def load_into(model: Any, weights: dict[str, Any], path: str) -> None:
    """Raises CheckpointError where ``weights`` are of another model."""
    from c2o_model.checkpoint import CheckpointError

    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise CheckpointError(f"{path}: is of another model than CONFIG: {first[:200]}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.mmdet3.test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    launch.add_common(parser)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth of MMDetection")
    parser.add_argument(
        "--eval-seeds",
        type=launch.seed,
        nargs="+",
        default=[0],
        metavar="SEED",
        help="seeds of the sampling noise (default: 0)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
