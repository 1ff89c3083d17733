"""`c2o model-card`: what may be typed, handed to c2o_evidence.publish.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "a Hugging Face model card from the evidence"
HELP = """\
Writes a model card: front matter with a model-index (every row with its runs and spread), results, how to check them,
training data, limits, and the digest of every checkpoint.

examples:
  c2o model-card deliverables/step1_5seed > card.md
  c2o model-card deliverables/step1_5seed --exp-id student_1 --out student.md

The Hub reads it from the file README.md of the model's repository there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--exp-id", action="append", default=[], metavar="ROW", help="only this row (may be repeated)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of printing")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.publish.command import model_card_command

    return model_card_command(arguments.bundle, arguments.exp_id, out=arguments.out)
