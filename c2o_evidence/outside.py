"""Where commands put what they make for people and other tools: anywhere but among the evidence."""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.sums import SUMS_NAME

KEPT = ("deliverables", "results")


def check_outside(out: Path, root: Path) -> None:
    """Raises EvidenceError for a place in a bundle, or below deliverables/ or results/ of the checkout."""
    place = out.resolve()
    bundles = (folder for folder in (place, *place.parents) if (folder / SUMS_NAME).exists())
    ours = (root / name for name in KEPT if place.is_relative_to((root / name).resolve()))
    if kept := next(bundles, None) or next(ours, None):
        raise EvidenceError(f"{out}: lies in {kept}, which holds evidence alone; name a directory elsewhere")
