"""`c2o diff`: compare, print, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

from c2o_evidence.diff import Diff, diff
from c2o_evidence.diff.text import lines, markdown


def diff_command(a: str, b: str, root: Path, *, verify: bool, as_json: bool, as_markdown: bool) -> int:
    """Prints the comparison; 0 if the numbers are the same, else 1. Raises EvidenceError for bad use."""
    found = diff(a, b, root=root, verify=verify)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    elif as_markdown:
        print(markdown(found), end="")
    else:
        _print(found)
    return found.exit_code


def _print(found: Diff) -> None:
    import sys

    if not sys.stdout.isatty():
        print("\n".join(line for line, _ in lines(found)))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line, style in lines(found):
        console.print(Text(line, style=style))
