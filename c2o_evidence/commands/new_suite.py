"""`c2o new-suite`: what may be typed, handed to c2o_evidence.new_suite.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "a commented, valid suite file to start from"
HELP = """\
Writes configs/suites/NAME.yaml: everything that another suite has (experiments, rows, comparisons with a control,
seeds, tolerances), each key explained, and what else there is, switched off. It runs as it is; then change it.

examples:
  c2o new-suite mine                                          from step1_5seed
  c2o new-suite mine --from voc_convergence --dataset configs/data/mine.yaml

then:
  c2o run mine_reduced      the same jobs on a small budget
  c2o run mine

Trainings that are not changed are taken from the suite that has them: done once for all. Nothing is overwritten."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="letters, digits, _ and -")
    parser.add_argument("--from", dest="origin", default="step1_5seed", metavar="SUITE", help="default: step1_5seed")
    parser.add_argument("--dataset", type=Path, metavar="FILE", help="a file of configs/data/ (default: that of SUITE)")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.new_suite.command import new_suite_command

    return new_suite_command(arguments.name, arguments.origin, arguments.dataset, root)
