"""`c2o verify`: what may be typed, handed to c2o_evidence.verify.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "check a frozen bundle"
HELP = """\
Checks a frozen bundle, offline. Each level includes those above it (train does not include eval).

levels:
  files    every listed file is there with its SHA-256, nothing is extra, nothing leaves the bundle
  tables   the same, and every cell of every table is recomputed: AP from the stored detections, means,
           deviations and tests from the per-run rows; every row is bound to a re-hashed checkpoint; seeds
           complete, none twice
  eval     the same, and every frozen checkpoint is evaluated again by this checkout's code: a verdict for each
           run, bit-exact, within the tolerance that the suite declares, or different, and what may be why
  train    as tables, and all is trained again from nothing and evaluated: each checkpoint the same file, the
           same weights or another one; a verdict for each run and for the mean of each table row

Levels files and tables load no model. Levels eval and train run the workflow, in results/.state/replay of this
checkout: minutes to hours, told before they begin; Ctrl-C stops, the same command goes on. Tolerances are part
of the bundle (`tolerances:` of the suite) and cannot be given here. What each level proves: docs/verify.md.

examples:
  c2o verify                                   every frozen deliverable, level files
  c2o verify deliverables/step1_5seed --level tables
  c2o verify some/copy/of/a/bundle --json      for machines
  c2o verify --cached                          a quick look again: files untouched since the last --cached
                                               are not read; what is published was verified without it
  c2o verify deliverables/step1_5seed --level eval
  c2o verify deliverables/step1_5seed --signer you@example.org --allowed-signers signers
  c2o verify some/copy/of/a/bundle --level train --jobs 8 --json     for machines

Without C2O installed, `python3 BUNDLE/verify.py` checks the files and the means with bare Python >= 3.9.
Exit code: 0 verified, 1 the evidence does not hold or a run could not be replayed, 2 bad use or something is
missing here."""


def positive(text: str) -> int:
    """A whole number from 1 on, as argparse reads it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help="a bundle (default: all frozen ones)")
    parser.add_argument("--level", choices=("files", "tables", "eval", "train"), default="files")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--jobs", type=positive, metavar="N", help="threads and processes to use (default: the cores)")
    parser.add_argument(
        "--cached", action="store_true", help="do not read files again that were verified and not touched since"
    )
    parser.add_argument("--keep", action="store_true", help="levels eval and train: leave what was made there")
    parser.add_argument("--signer", metavar="IDENTITY", help="ask for a valid SSH signature of this signer")
    parser.add_argument("--allowed-signers", type=Path, metavar="FILE", help="whose keys are whose (ssh-keygen(1))")
    parser.add_argument("--revoked", type=Path, metavar="FILE", help="keys that count no more (ssh-keygen(1))")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="ask for a model signature by this key")
    parser.add_argument("--signature", type=Path, metavar="FILE", help="the signature (default: looked for)")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="deliverables.tsv with the frozen root digests")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.verify.command import trust_of, verify_command

    return verify_command(
        arguments.path,
        arguments.level,
        root=root,
        as_json=arguments.json,
        jobs=arguments.jobs,
        ledger=arguments.ledger,
        cached=arguments.cached,
        keep=arguments.keep,
        trust=trust_of(arguments),
    )
