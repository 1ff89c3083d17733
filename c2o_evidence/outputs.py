"""Where commands that show, draw or export may write: never into evidence."""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.sums import SUMS_NAME

EVIDENCE = ("deliverables", "results")


def bundle_around(path: Path) -> Path | None:
    """The bundle that a path is or lies in, links followed; None where it is in none."""
    place = path.resolve()
    return next((folder for folder in (place, *place.parents) if (folder / SUMS_NAME).exists()), None)


def check_output(out: Path, root: Path) -> None:
    """Raises EvidenceError for a file or directory in a bundle, or below results/ or deliverables/ of a checkout."""
    place = out.resolve()
    ours = next((root / name for name in EVIDENCE if place.is_relative_to((root / name).resolve())), None)
    if (holder := bundle_around(out) or ours) is not None:
        raise EvidenceError(f"{out}: lies in {holder}, which holds evidence alone; name a directory elsewhere")
