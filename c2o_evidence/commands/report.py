"""`c2o report`: what may be typed, handed to c2o_evidence.report.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "a page to look at: all results, or one suite's"
HELP = """\
Writes one self-contained HTML page (no network, works without its script): tables with intervals, verdicts, figures,
detections over pictures, and behind every number its runs, results files, checkpoint digests and how to check it.

  without NAME   every deliverable and all other results: an index, all rows, ablations side by side, each suite's parts
  NAME           results/NAME as they are now, frozen or not; or a bundle by its directory

A bundle has its own page already: deliverables/NAME/report.html.

examples:
  c2o report
  c2o report -o everything.html
  c2o report step1_5seed -o draft.html

exit code: 0 written; 1 written, but a suite could not be shown (it is named); 2 nothing to show"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a suite, or the directory of a bundle")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.errors import EvidenceError
    from c2o_evidence.outputs import check_output
    from c2o_evidence.report.command import report_command

    out: Path = arguments.out
    if out.is_dir():
        raise EvidenceError(f"-o {out}: is a directory; name a file, such as {out / 'report.html'}")
    check_output(out, root)
    return report_command(arguments.name, root, out)
