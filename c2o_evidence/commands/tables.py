"""`c2o tables`: what may be typed, handed to c2o_evidence.tables.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "make or check the tables of a suite"
HELP = """\
examples:
  c2o tables --suite step1_5seed             write results/step1_5seed/tables from the results that are there
  c2o tables --suite step1_5seed --check     only say which tables would change (exit 1 if any)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", required=True, metavar="SUITE")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table would change")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.tables import tables_command

    return tables_command(arguments.suite, root, check=arguments.check)
