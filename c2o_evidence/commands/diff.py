"""`c2o diff`: what may be typed, handed to c2o_evidence.diff.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "what moved between two bundles or tables"
HELP = """\
Compares two of a kind: bundles (a directory, or a suite's name for deliverables/NAME), results manifests, ledgers,
or results, summary and timing TSVs. Every row and the whole get a verdict:

  identical        the same bytes
  same numbers     other bytes, equal values: it is said what differs (code, checkpoint, …)
  moved            by how much (B - A), with a t test over train seeds: paired where both have the same ones,
                   else Welch's; where there are too few for a test, that is said
  not comparable   and why: another data set, other eval seeds, another number of steps, another scale, and for
                   times other hardware

Of two bundles also: what changed in the suite and the configurations, which checkpoints are others and why, as far as
the records tell. A file of a bundle is compared only if it has its digest in SHA256SUMS.

examples:
  c2o diff step1_5seed some/copy/of/a/bundle
  c2o diff old/results_manifest.tsv manifests/results_manifest.tsv
  c2o diff --verify --markdown old/bundle deliverables/step1_5seed > comment.md

Exit code: 0 identical or same numbers, 1 anything else (also a bundle that does not hold), 2 bad use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a bundle, a suite's name, or a TSV")
    parser.add_argument("b", metavar="B", help="another one of its kind")
    parser.add_argument("--verify", action="store_true", help="check every file of the bundles first (level files)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print the comparison as JSON")
    shape.add_argument("--markdown", action="store_true", help="print it as a comment for a pull request")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.diff.command import diff_command

    return diff_command(
        arguments.a,
        arguments.b,
        root,
        verify=arguments.verify,
        as_json=arguments.json,
        as_markdown=arguments.markdown,
    )
