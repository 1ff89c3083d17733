"""`c2o predict`: what may be typed, handed to c2o_evidence.predict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from c2o_evidence.predict import Asked

SUMMARY = "detections in pictures of your own"
HELP = """\
Detects in pictures, draws boxes with class and score (DIR/NAME.png) and writes all detections as COCO results
(DIR/detections.json).

--checkpoint names one of
  SUITE:ROW            the row's checkpoint and steps, first train seed; SUITE:ROW:SEED another one
  SUITE:EXPERIMENT     a checkpoint that is no row
  BUNDLE:ROW           the same of a bundle anywhere, by its directory
  FILE                 a checkpoint with config.yaml beside it, or with --config-file

The same picture, seed and steps give the same detections. Noise is keyed by the picture's content, so its name and its
neighbours change nothing; a picture of the data set's val has the noise that its evaluation has with that seed.

examples:
  c2o predict photo.jpg --checkpoint step1_5seed:student_1
  c2o predict holiday/ --checkpoint step1_5seed:warmstart_20:3 --score 0.4 --output drawn
  c2o predict a.png b.png --checkpoint deliverables/step1_5seed:student_1 --steps 4 --seed 7
  c2o predict photo.jpg --checkpoint diffdet_coco_res50.pth --config-file configs/models/coco/diffusiondet_r50.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture, or a directory of them")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the row's)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to put what is made (default: predictions)")
    add_common(parser)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What `c2o watch` takes as well."""
    parser.add_argument("--checkpoint", required=True, metavar="WHICH", help="SUITE:ROW, SUITE:ROW:SEED, or a file")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    parser.add_argument("--score", type=float, default=0.5, metavar="P", help="lowest that is drawn (default: 0.5)")
    parser.add_argument("--config-file", type=Path, metavar="YAML", help="the checkpoint's, if not beside it")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where val.json names the classes (default: the suite's data set)"
    )


def common(arguments: argparse.Namespace) -> Asked:
    """What `predict` and `watch` are told alike. Raises EvidenceError for numbers that nothing can be done with."""
    from c2o_evidence.errors import EvidenceError
    from c2o_evidence.predict import Asked

    steps, seed, score = arguments.steps, arguments.seed, arguments.score
    if steps is not None and not 1 <= steps <= 1000:
        raise EvidenceError(f"--steps {steps}: is out of range; use 1 to 1000")
    if not 0 <= seed < 2**32:
        raise EvidenceError(f"--seed {seed}: is out of range; use 0 to {2**32 - 1}")
    if not 0 <= score <= 1:
        raise EvidenceError(f"--score {score:g}: is out of range; use 0 to 1")
    return Asked(arguments.checkpoint, steps, seed, score, arguments.config_file, arguments.data)


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.predict import predict

    return predict(arguments.images, common(arguments), root, arguments.output)
