"""Train or evaluate from the command line, as Detectron2 users expect.

    python -m c2o_model.train_net --config-file configs/models/digits/baseline.yaml OUTPUT_DIR runs/a SOLVER.MAX_ITER 90
    python -m c2o_model.train_net --config-file … --eval-only MODEL.WEIGHTS runs/a/model_final.safetensors
    python -m c2o_model.train_net --config-file … --dry-run
    python -m c2o_model.train_net --config-file … --num-gpus 8 MODEL.DEVICE cuda OUTPUT_DIR runs/b
    torchrun --nproc-per-node 8 -m c2o_model.train_net --config-file … MODEL.DEVICE cuda OUTPUT_DIR runs/b
    srun -N2 --ntasks-per-node=8 python -m c2o_model.train_net --config-file … MODEL.DEVICE cuda OUTPUT_DIR runs/b

Data sets are the names in DATASETS.TRAIN and DATASETS.TEST (docs/datasets.md, `c2o data list`); several training sets
are trained on as one. SOLVER.IMS_PER_BATCH is the global batch however many processes share it. ``--resume`` is
implied: a run in the same OUTPUT_DIR with the same configuration goes on where it was stopped. A signal (SIGTERM,
SIGINT, SIGUSR1) or the end of a SLURM job's time stops it with its state saved; the SLURM job is queued again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from c2o_model.determinism import pin_environment, set_deterministic

if TYPE_CHECKING:
    from c2o_model.data.coco import CocoSplit
    from c2o_model.rendezvous import Place

USER_ERROR = 2
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or with a message on stderr 2 when configuration, data or checkpoint cannot be used and 75 when
    the training was asked to stop: its state is saved, and the same command goes on. A SLURM job is then run again.
    """
    args = _parser().parse_args(argv)
    pin_environment()
    try:
        from c2o_model.rendezvous import find

        cfg = _configuration(args)
        if place := find(args, os.environ):
            _work_joined(args, place, cfg.MODEL.DEVICE)
        if args.num_gpus * args.num_machines > 1:
            from c2o_model.stopping import passed_on
            from c2o_model.training.launch import launch_processes

            with passed_on():
                launch_processes(_work, args, cfg.MODEL.DEVICE)
        else:
            _work(args)
    except _stopped() as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return STOPPED
    except _user_errors() as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _work_joined(args: argparse.Namespace, place: Place, device: str) -> NoReturn:
    """Work in a group that is started already, and end this process with the status of :func:`main`."""
    from detectron2.utils import comm

    from c2o_model.rendezvous import join, leave
    from c2o_model.training.run import TrainingStopped

    status = 1
    try:
        join(place, device)
        _work(args)
        comm.synchronize()  # no process leaves while another one still talks to it
        status = 0
    except _user_errors() as error:
        print(f"error: {f'process {place.rank}: ' if place.rank else ''}{error}", file=sys.stderr)
        status = USER_ERROR
    except TrainingStopped as stopped:  # which all have met, and none is to cut off another
        comm.synchronize()
        print(f"stopped: {stopped}", file=sys.stderr)
        status = STOPPED
    except Exception:
        traceback.print_exc()
    leave(status)


def _work(args: argparse.Namespace) -> None:
    """What each process does."""
    from c2o_model.data.concat import concatenate
    from c2o_model.data.registration import named_split

    cfg = _configuration(args)
    set_deterministic(1)
    if args.dry_run:
        _dry_run(cfg, args.steps)
    elif args.eval_only:
        for name in cfg.DATASETS.TEST:
            _evaluate(cfg, name, args.eval_seeds)
    else:
        _train(cfg, concatenate([named_split(name) for name in cfg.DATASETS.TRAIN]))


def _configuration(args: argparse.Namespace):  # type: ignore[no-untyped-def]  # Detectron2's types are dynamic
    """The checked configuration of the command line."""
    from c2o_model.config import ConfigError, load_config

    opts = [value or "''" for value in args.opts[args.opts[:1] == ["--"] :]]  # KEY "" is an empty string, not null
    cfg = load_config(args.config_file, opts)
    key = "DATASETS.TEST" if args.eval_only else "DATASETS.TRAIN"
    names = cfg.DATASETS.TEST if args.eval_only else cfg.DATASETS.TRAIN
    if not names:
        raise ConfigError(f"{key}: is empty; name a registered data set, e.g. ('c2o_digits_train',)")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{key}: {name} is listed twice")
    return cfg


def _user_errors() -> tuple[type[Exception], ...]:
    from c2o_model.checkpoint import CheckpointError
    from c2o_model.config import ConfigError
    from c2o_model.data.errors import DataError
    from c2o_model.training.launch import ProcessError
    from c2o_model.training.run import TrainingDiverged

    return ConfigError, CheckpointError, DataError, TrainingDiverged, ProcessError


def _stopped() -> type[Exception]:
    from c2o_model.training.run import TrainingStopped

    return TrainingStopped


def _train(cfg, split: CocoSplit) -> None:  # type: ignore[no-untyped-def]
    from c2o_model.config import dump_resolved
    from c2o_model.stopping import StopRequest
    from c2o_model.training import processes
    from c2o_model.training.run import TrainingStopped, train

    chief = processes.rank() == 0
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    if chief:
        (output / "config.yaml").write_text(dump_resolved(cfg), encoding="utf-8")
    seed = max(cfg.SEED, 0)
    # Sums over several processes round otherwise than one process does: their states do not mix.
    text = dump_resolved(cfg) + (f"processes: {processes.world()}" if processes.world() > 1 else "")
    recipe = hashlib.sha256(text.encode()).hexdigest()
    teacher, teacher_cfg = _teacher(cfg)
    evaluate = _validation(cfg)
    stop = StopRequest(timed=chief)
    try:
        with stop:
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
                evaluate=evaluate,
                progress=_tell,
                stop=stop,
            )
    except TrainingStopped:
        if chief:
            stop.queue_again()
            print(f"stopped {stop.reason}{stop.answer and '; '}{stop.answer}", flush=True)
        raise
    if chief:
        (output / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in curve), encoding="utf-8")
        print(f"wrote {output / 'model_final.safetensors'}")


def _tell(now: Mapping[str, Any]) -> None:
    ap = "" if now["ap"] is None else f"AP {now['ap']:.1f}  "
    print(
        f"iteration {now['iteration']}/{now['total']}  loss {now['loss']:.3f}  {ap}eta {now['eta_s']:.0f} s", flush=True
    )


def _validation(cfg):  # type: ignore[no-untyped-def]
    """What TEST.EVAL_PERIOD measures: AP on the first set of DATASETS.TEST. None without it."""
    from c2o_model.config import ConfigError
    from c2o_model.data.registration import named_split
    from c2o_model.training.validation import ValidationAP, evaluates

    if not evaluates(cfg):
        return None
    if not cfg.DATASETS.TEST:
        raise ConfigError(
            f"TEST.EVAL_PERIOD: {cfg.TEST.EVAL_PERIOD} needs a set to evaluate on; name one in DATASETS.TEST, or set "
            "it to 0"
        )
    return ValidationAP(cfg, named_split(cfg.DATASETS.TEST[0]))


def _dry_run(cfg, steps: int) -> None:  # type: ignore[no-untyped-def]
    from c2o_model.data.concat import concatenate
    from c2o_model.data.registration import named_split
    from c2o_model.dry_run import check_device, dry_run

    check_device(cfg.MODEL.DEVICE)
    split = concatenate([named_split(name) for name in cfg.DATASETS.TRAIN])
    tests = ((name, named_split(name)) for name in cfg.DATASETS.TEST)
    teacher, teacher_cfg = _teacher(cfg)
    dry_run(cfg, split, tests, teacher=teacher, teacher_cfg=teacher_cfg, steps=steps)


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
    from c2o_model.training import processes

    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("MODEL.WEIGHTS: is empty; name the checkpoint to evaluate")
    split = named_split(name)
    row = EvalRow(name, cfg.MODEL.DiffusionDet.SAMPLE_STEP)
    for run in evaluate(cfg, Path(cfg.MODEL.WEIGHTS), split, [row], eval_seeds):
        if processes.rank() == 0:
            print(f"{name}: {row.sample_step} step(s), eval seed {run.eval_seed}")
            print_ap(split, run)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.train_net", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="Detectron2 YAML, e.g. configs/models/digits/baseline.yaml"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="read the data, build everything, make a step, tell what a full run needs; writes nothing to OUTPUT_DIR",
    )
    parser.add_argument(
        "--steps",
        type=_positive,
        default=1,
        metavar="N",
        help="steps of a dry run (default: 1); from 2 on the first is not timed",
    )
    parser.add_argument(
        "--eval-seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="SEED",
        help="seeds of the sampling noise (default: 0)",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="processes on this machine that share each batch: one a GPU, or with MODEL.DEVICE cpu on its cores "
        "(default: 1, or those that torchrun or srun has started)",
    )
    parser.add_argument("--num-machines", type=int, metavar="M", help="machines that run this command (default: 1)")
    parser.add_argument("--machine-rank", type=int, metavar="R", help="number of this machine, 0 first")
    parser.add_argument("--dist-url", metavar="URL", help="tcp://HOST:PORT of machine 0; srun and torchrun know it")
    parser.add_argument("--resume", action="store_true", help="implied: a stopped run in OUTPUT_DIR always goes on")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration overrides")
    return parser


if __name__ == "__main__":
    sys.exit(main())
