"""`c2o watch`: what may be typed, handed to c2o_evidence.predict."""

from __future__ import annotations

import argparse
from pathlib import Path

from c2o_evidence.commands.predict import add_common, common

SUMMARY = "the denoising of one picture as a GIF"
HELP = """\
Runs the sampler on one picture and writes a GIF, one frame a step: grey the noisy boxes that a step starts from, in
colour what would be detected if it were the last one. The last frame is what `c2o predict` draws with as many steps.

--checkpoint is named as for `c2o predict`; the number of steps is 20 unless given, whatever the row has.

examples:
  c2o watch photo.jpg --checkpoint step1_5seed:warmstart_20
  c2o watch photo.jpg --checkpoint step1_5seed:baseline_1:2 --steps 8 --score 0.3 -o out.gif"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="denoising steps, frames (default: 20)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.gif", help="default: the picture's name, here")
    add_common(parser)


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.predict import watch

    return watch(arguments.image, common(arguments), root, arguments.output)
