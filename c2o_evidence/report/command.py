"""`c2o report`: writes the page and says what it shows."""

from __future__ import annotations

import sys
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.printable import printable
from c2o_evidence.report.whole import Whole, names_of, render_one, render_whole


def report_command(name: str | None, root: Path, out: Path) -> int:
    """Writes the page of one suite, or of all, to `out`; 1 if a suite could not be shown. Raises EvidenceError."""
    made = Whole(render_one(name, root), 1) if name is not None else render_whole(names_of(root), root)
    atomic_write(out, made.text)
    for fault in made.faults:
        print(printable(fault, len(fault)), file=sys.stderr)
    what = f"{made.shown} suite" + ("s" if made.shown != 1 else "")
    print(f"{out}: {what}, {len(made.text.encode()) / 1e6:.1f} MB; open it in a browser, it needs no network")
    return 1 if made.faults else 0
