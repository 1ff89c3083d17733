"""Train or evaluate from the command line, as Detectron2 users expect.

    python -m c2o_model.train_net --config-file configs/models/digits/baseline.yaml OUTPUT_DIR runs/a SOLVER.MAX_ITER 90
    python -m c2o_model.train_net --config-file … --eval-only MODEL.WEIGHTS runs/a/model_final.safetensors

Data sets are the names in DATASETS.TRAIN and DATASETS.TEST (see c2o_model.data.registration). ``--resume`` is
implied: a run in the same OUTPUT_DIR with the same configuration goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from c2o_model.determinism import pin_environment, set_deterministic

USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr when configuration, data or checkpoint cannot be used."""
    args = _parser().parse_args(argv)
    pin_environment()
    from c2o_model.checkpoint import CheckpointError
    from c2o_model.config import ConfigError, load_config
    from c2o_model.data.errors import DataError
    from c2o_model.training.run import TrainingDiverged

    try:
        if args.num_gpus > 1 or args.num_machines > 1:
            raise NotImplementedError("--num-gpus: training over several processes is not built yet; use 0 or 1")
        cfg = load_config(args.config_file, args.opts[args.opts[:1] == ["--"] :])
        set_deterministic(1)
        names = cfg.DATASETS.TEST if args.eval_only else cfg.DATASETS.TRAIN
        if not names:
            key = "DATASETS.TEST" if args.eval_only else "DATASETS.TRAIN"
            raise ConfigError(f"{key}: is empty; name a registered data set, e.g. ('c2o_digits_train',)")
        if args.eval_only:
            for name in names:
                _evaluate(cfg, name, args.eval_seeds)
        elif len(names) > 1:
            raise NotImplementedError(f"DATASETS.TRAIN: {names}: training on several sets is not built yet; name one")
        else:
            _train(cfg, names[0])
    except (ConfigError, CheckpointError, DataError, TrainingDiverged, NotImplementedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _train(cfg, name: str) -> None:  # type: ignore[no-untyped-def]  # Detectron2's types are dynamic
    from c2o_model.config import dump_resolved
    from c2o_model.data.registration import named_split
    from c2o_model.training.run import train

    split = named_split(name)
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.yaml").write_text(dump_resolved(cfg), encoding="utf-8")
    seed = max(cfg.SEED, 0)
    recipe = hashlib.sha256(dump_resolved(cfg).encode()).hexdigest()
    teacher, teacher_cfg = _teacher(cfg)
    curve = train(
        cfg,
        seed=seed,
        split=split,
        output=output / "model_final.safetensors",
        state_dir=output / "state",
        recipe=recipe,
        metadata={"recipe": recipe, "train_seed": str(seed)},
        init=Path(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else None,
        teacher=teacher,
        teacher_cfg=teacher_cfg,
        progress=lambda v: print(
            f"iteration {v['iteration']}/{v['total']}  loss {v['loss']:.3f}  eta {v['eta_s']:.0f} s", flush=True
        ),
    )
    (output / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in curve), encoding="utf-8")
    print(f"wrote {output / 'model_final.safetensors'}")


def _teacher(cfg):  # type: ignore[no-untyped-def]
    """Checkpoint and configuration of the teacher that a distillation switch names; (None, None) without one.

    The configuration is the config.yaml beside the checkpoint, as every training writes it.
    """
    from c2o_model.config import ConfigError, load_config

    for switch in ("SAMPLER_DISTILL", "CONSISTENCY_DISTILL"):
        key = f"MODEL.DiffusionDet.{switch}_TEACHER_WEIGHTS"
        weights = cfg.MODEL.DiffusionDet[f"{switch}_TEACHER_WEIGHTS"]
        if cfg.MODEL.DiffusionDet[switch] and weights:
            beside = Path(weights).parent / "config.yaml"
            if not beside.is_file():
                raise ConfigError(f"{key}: {weights}: no config.yaml beside it; put the teacher's configuration there")
            return Path(weights), load_config(beside)
    return None, None


def _evaluate(cfg, name: str, eval_seeds: Sequence[int]) -> None:  # type: ignore[no-untyped-def]
    from c2o_model.config import ConfigError
    from c2o_model.data.registration import named_split
    from c2o_model.evaluation.coco_ap import print_ap
    from c2o_model.evaluation.run import EvalRow, evaluate

    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("MODEL.WEIGHTS: is empty; name the checkpoint to evaluate")
    split = named_split(name)
    row = EvalRow(name, cfg.MODEL.DiffusionDet.SAMPLE_STEP)
    for run in evaluate(cfg, Path(cfg.MODEL.WEIGHTS), split, [row], eval_seeds):
        print(f"{name}: {row.sample_step} step(s), eval seed {run.eval_seed}")
        print_ap(split, run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.train_net", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="Detectron2 YAML, e.g. configs/models/digits/baseline.yaml"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    parser.add_argument(
        "--eval-seeds", type=int, nargs="+", default=[0], help="seeds of the sampling noise (default: 0)"
    )
    parser.add_argument("--num-gpus", type=int, default=0, help="processes on this machine (0 or 1 for now)")
    parser.add_argument("--num-machines", type=int, default=1, help="1 for now")
    parser.add_argument("--resume", action="store_true", help="implied: a stopped run in OUTPUT_DIR always goes on")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration overrides")
    return parser


if __name__ == "__main__":
    sys.exit(main())
