"""Train a detector of MMDetection through mmengine's Runner.

    python -m c2o_model.mmdet3.train configs/mmdet/toy.py
    python -m c2o_model.mmdet3.train configs/mmdet/toy.py --seed 1 --work-dir runs/toy1
    python -m c2o_model.mmdet3.train configs/mmdet/toy.py --cfg-options train_cfg.max_epochs=1 param_scheduler.1.T_max=1
    python -m c2o_model.mmdet3.train configs/mmdet/toy.py --resume

Checkpoints, logs and the detections of every validation (c2o/val/) go to the work directory. The same command gives the
same weights on a CPU. What the Runner restores is what mmengine saves; a stopped epoch begins again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from c2o_model.mmdet3 import launch
from c2o_model.mmdet3.convert import load_mmdet


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    return launch.run(_train, _parser().parse_args(argv))


def _train(args: argparse.Namespace) -> None:
    cfg = launch.configuration(args)
    if args.seed is not None:
        cfg.randomness = {**cfg.get("randomness", {}), "seed": args.seed}
    cfg.model.train_seed = cfg.get("randomness", {}).get("seed") or 0
    if args.resume:
        from mmengine.runner import find_latest_checkpoint

        last = find_latest_checkpoint(cfg.work_dir) if Path(cfg.work_dir).is_dir() else None
        if last is None:
            raise launch.ConfigError(f"--resume: {cfg.work_dir} has no checkpoint; leave --resume away to begin anew")
        cfg.resume, cfg.load_from = True, last
    if cfg.get("load_from") and not Path(cfg.load_from).is_file():
        raise launch.ConfigError(f"load_from: {cfg.load_from}: no such checkpoint; {args.config} says how it is made")
    if cfg.get("load_from"):
        load_mmdet(Path(cfg.load_from))  # a damaged file is told of before the work begins
    with launch.runner_files():
        launch.built(cfg, args).train()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.mmdet3.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    launch.add_common(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the work directory")
    parser.add_argument("--seed", type=launch.seed, metavar="N", help="train seed (default: that of the configuration)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
