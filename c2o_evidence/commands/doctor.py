"""`c2o doctor`: what may be typed, handed to c2o_evidence.doctor."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "is this machine ready"
HELP = """\
Versions, device, threads, data sets, and what to do about what is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.doctor import collect, render

    text, status = render(collect(root), as_json=arguments.json)
    print(text.rstrip())
    return status
