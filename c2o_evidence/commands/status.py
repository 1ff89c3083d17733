"""`c2o status`: what may be typed, handed to c2o_evidence.status."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "what is done, running, missing"
HELP = """\
examples:
  c2o status                 every suite in configs/suites: how much is done, and whether it is frozen
  c2o status step1_5seed     each experiment and train seed: done, running (iteration, time left), missing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", metavar="SUITE")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.status import print_status

    return print_status(arguments.suite, root)
