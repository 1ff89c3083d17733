"""What files of a suite's results there are that the suite alone does not tell.

`edition` counts what bundles hold: 1 had no tables of c2o_evidence.tables.detail, no figures of them and none as PDF.
Bundles of both are verified; only the newest is made.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2o_evidence.limits import MAX_TABLE
from c2o_evidence.plain_file import read_plain

if TYPE_CHECKING:
    from c2o_evidence.suite import Suite

EDITION = 2
DETAIL_TABLES = ("per_class", "variance", "precision_recall", "confusion", "errors")
"""Those of c2o_evidence.tables.detail."""


@dataclass(frozen=True)
class Extent:
    """`ap_curves`: whether a training has measured AP on its way, so that there is a figure of it."""

    edition: int = EDITION
    ap_curves: bool = False


NOW = Extent()


def extent_of(base: Path, suite: Suite, listed: Container[str] | None = None, *, edition: int = EDITION) -> Extent:
    """The extent of the results below `base` (`results/SUITE` or a bundle).

    `listed`: what may be opened; default: anything. A curve that cannot be read counts as one without AP.
    """
    for experiment, seed in suite.train_jobs if edition > 1 else ():
        path = f"train/{experiment}/seed{seed}/curve.tsv"
        if listed is not None and path not in listed:
            continue
        try:
            header = read_plain(base / path, MAX_TABLE).split(b"\n", 1)[0]
        except OSError:
            continue
        if b"AP" in header.split(b"\t"):
            return Extent(edition, ap_curves=True)
    return Extent(edition)
