"""`c2o run`: what may be typed, handed to c2o_evidence.run."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "build a deliverable"
HELP = """\
Runs `snakemake deliverables/SUITE`, shows the running trainings and the time that is left, and keeps the
whole output in logs/SUITE/. Ctrl-C stops cleanly; the same command goes on where it stopped, also after a
crash. What follows SUITE goes to Snakemake.

examples:
  c2o run quick                                a first look, a few minutes
  c2o run step1_5seed -n                       only say what would be done
  c2o run step1_5seed --cores 8
  c2o run step1_5seed --workflow-profile my/profile       a profile of your own, e.g. for a cluster"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE")
    parser.add_argument("snakemake", nargs=argparse.REMAINDER, metavar="…", help="arguments for Snakemake")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.run import run_suite

    extra = list(arguments.snakemake)
    return run_suite(arguments.suite, extra[1:] if extra[:1] == ["--"] else extra, root)
