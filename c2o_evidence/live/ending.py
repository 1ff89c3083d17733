"""What the user reads when a build has ended: the result, or how to go on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

# With these Snakemake makes less than the target needs, and is content.
PARTIAL_FLAGS = ("--until", "-U", "--omit-from", "-O", "--batch", "--allowed-rules", "--target-jobs")


def partial(arguments: Sequence[str]) -> str:
    """The argument that keeps Snakemake from making all of its target; empty if there is none."""
    for argument in arguments:
        if argument.split("=", 1)[0] in PARTIAL_FLAGS or argument[:2] in ("-U", "-O"):
            return argument
    return ""


def stopped_line(took: str, again: str, stopped: str = "stopped") -> str:
    """What to say after an interrupt; `again` is the command that was typed."""
    return f"{stopped} after {took}. Training keeps its state: `{again}` resumes."


def print_result(
    root: Path, name: str, took: str, stream: TextIO, *, arguments: Sequence[str] = (), again: str = ""
) -> None:
    """Where the bundle is, its summary table, and the command that verifies it; for less, what is to be done.

    `arguments` are those of Snakemake, `again` is the command that makes the deliverable.
    """
    bundle, less = root / "deliverables" / name, partial(arguments)
    if less or not bundle.is_dir():
        asked = f" ({less})" if less else ""
        print(f"done as far as asked{asked}, {took}; deliverables/{name} was not made", file=stream)
        print(f"go on:   {again or f'c2o run {name}'}", file=stream)
        return
    print(f"deliverables/{name} is complete ({took})", file=stream)
    table = bundle / "tables" / "summary.md"
    if stream is sys.stdout and stream.isatty():
        from c2o_evidence.show import show_suite

        show_suite(bundle)
    elif table.is_file():
        print("\n" + table.read_text("utf-8").rstrip() + "\n", file=stream)
    print(f"report:  deliverables/{name}/report.html", file=stream)
    print(f"verify:  c2o verify deliverables/{name} --level tables", file=stream)
