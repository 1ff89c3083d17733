"""One page over all results of a checkout: an index, every row, the ablations side by side, then each suite's parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import Frozen, read_ledger
from c2o_evidence.report.page import view
from c2o_evidence.report.render import render_page
from c2o_evidence.report.source import Source
from c2o_evidence.suite import load_resolved_suite, load_suite
from c2o_evidence.sums import SUMS_NAME

SUMMARY = "tables/summary.tsv"


@dataclass(frozen=True)
class Whole:
    """A page, how many suites it shows, and a line for each that it could not."""

    text: str
    shown: int
    faults: tuple[str, ...] = ()


def names_of(root: Path) -> list[str]:
    """Suites with a deliverable or with tables of results, sorted."""
    frozen = {path.parent.parent.name for path in (root / "deliverables").glob(f"*/{SUMMARY}")}
    made = {path.parent.parent.name for path in (root / "results").glob(f"*/{SUMMARY}")}
    return sorted(frozen | made)


def source_of(name: str, root: Path, *, prefix: str = "", frozen_first: bool = True) -> Source:
    """The results of a suite: its deliverable, or `results/NAME`, or a bundle by its directory.

    Raises EvidenceError if there are none, or its suite cannot be read.
    """
    frozen, made = root / "deliverables" / name, root / "results" / name
    if (Path(name) / SUMMARY).is_file() and (Path(name) / "suite.yaml").is_file():
        return _bundle(Path(name), str(name), prefix)
    places = {True: frozen, False: made}
    for is_frozen in (frozen_first, not frozen_first):
        if (places[is_frozen] / SUMMARY).is_file():
            if is_frozen:
                return _bundle(frozen, f"deliverables/{name}", prefix)
            suite = load_suite(name, root)
            data = root / "data" / suite.data_name if suite.rows else None
            return Source(made, suite, data, prefix, f"results/{name}", frozen=False)
    raise EvidenceError(f"{name}: has no tables in deliverables/ or results/ here; run `c2o run {name}`")


def _bundle(base: Path, place: str, prefix: str) -> Source:
    suite = load_resolved_suite(base / "suite.yaml")
    return Source(base, suite, base / "data" if suite.rows else None, prefix, place)


def render_one(name: str, root: Path) -> str:
    """The page of one suite's results as they are now, frozen or not. Raises EvidenceError."""
    source = source_of(name, root, frozen_first=False)
    return render_page("report/page.html.j2", suite=view(source))


def render_whole(names: list[str], root: Path) -> Whole:
    """The page over several suites; one that cannot be shown is named with the reason and left out.

    Raises EvidenceError if the ledger is damaged, or nothing can be shown.
    """
    ledger = read_ledger(root / "manifests" / "deliverables.tsv")
    suites, faults = [], []
    for name in names:
        try:
            source = source_of(name, root, prefix=f"{Path(name).name}-")
            suites.append(view(source) | {"state": _state(source, ledger), "headline": _headline(source)})
        except (EvidenceError, OSError) as error:
            faults.append(f"{name}: cannot be shown: {str(error).replace(f'{root}/', '')}")
    if not suites:
        raise EvidenceError("; ".join(faults) or "no results here: build a suite first, `c2o run quick`")
    page = render_page("report/index.html.j2", suites=suites, faults=faults)
    return Whole(page, len(suites), tuple(faults))


def _state(source: Source, ledger: dict[str, Frozen]) -> dict[str, str]:
    """Whether it is frozen, and its root digest if that is the ledger's."""
    if not source.frozen:
        return {"word": "not frozen", "digest": "", "told": "no bundle was made of these results"}
    sums = source.base / SUMS_NAME
    digest = sha256_file(sums) if sums.is_file() else ""
    known = ledger.get(source.suite.name)
    if known is None:
        return {"word": "frozen", "digest": digest, "told": "no ledger names it"}
    if known.root_sha256 != digest:
        return {"word": "changed", "digest": digest, "told": f"the ledger has {known.root_sha256}"}
    return {"word": "frozen", "digest": digest, "told": f"revision {known.revision}, as the ledger has it"}


def _headline(source: Source) -> str:
    """The row that a suite is about: that of its first comparison, else the one with the highest AP."""
    if source.comparisons:
        return str(source.comparisons[0]["a"])
    known = [row for row in source.summary if row["mean_AP"] == row["mean_AP"]]
    best = max(known, key=lambda row: row["mean_AP"], default=None)
    return str(best["exp_id"]) if best else ""
