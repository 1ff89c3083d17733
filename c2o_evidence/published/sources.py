"""Where the rows behind a published table come from: a frozen deliverable, published runs, or published tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_SUMS
from c2o_evidence.paths import safe_relative
from c2o_evidence.plain_file import read_plain
from c2o_evidence.published.attention import attention_lines
from c2o_evidence.schemas import did_you_mean
from c2o_evidence.suite import Suite, load_resolved_suite, load_suite
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.tables import build_comparisons, build_main, build_summary
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify.findings import Finding

Row = Mapping[str, Any]
REFERENCE = Path("manifests/reference")
ALONE = {"attention": "attention benchmark", "parity": "comparison of stacks"}
NO_RUNS = "the runs themselves are not published here"


@dataclass
class Source:
    """The rows of one suite, by TSV (`summary`, `comparisons`, `main`), and what they follow from.

    Attributes:
        base: the directory, relative to the root.
        told: what the rows are, with the digest, for the reader.
        runs: the per-run rows; None where only tables are published.
        findings: faults of the rows themselves.
    """

    suite: Suite
    base: str
    told: str
    rows: Mapping[str, Sequence[Row]]
    runs: Sequence[Row] | None = None
    timing: Sequence[Row] = ()
    findings: list[Finding] = field(default_factory=list)


def known_suites(root: Path) -> list[str]:
    """Names of suites of which anything is published or frozen here."""
    patterns = (f"{REFERENCE}/*/tables", f"{REFERENCE}/*/attention.tsv", "deliverables/*/tables")
    return sorted({place.parent.name for pattern in patterns for place in root.glob(pattern)})


def find_source(name: str, root: Path, choice: str = "auto", place: str = "") -> Source:
    """The rows of suite `name`.

    `auto` takes deliverables/NAME if it is there, else manifests/reference/NAME. Times are measured anew by every
    build, so `auto` takes them from the reference where it has them.

    Raises:
        EvidenceError: nothing is published or frozen under that name, or it is damaged. The message starts with
            `place`, where the name was read.
    """
    at = f"{place}: " if place else ""
    _check_known(name, root, at)
    frozen, published = root / "deliverables" / name, root / REFERENCE / name
    if choice != "reference" and (frozen / "tables").is_dir():
        return _frozen(name, frozen, published if choice == "auto" else None, root)
    if choice == "deliverables":
        raise EvidenceError(f"{at}deliverables/{name} is not here; build it (c2o run {name}) or say --source reference")
    if not (published / "tables").is_dir():
        raise EvidenceError(f"{at}{REFERENCE}/{name}/tables is not here; it has table=attention, or a deliverable")
    return _published(name, published, root)


def _check_known(name: str, root: Path, at: str) -> None:
    if name not in known_suites(root):
        raise EvidenceError(f"{at}suite={name}: unknown suite; {did_you_mean(name, known_suites(root))}")
    safe_relative(name)


def find_alone(table: str, name: str, root: Path, choice: str, place: str) -> Source:
    """A table of suite `name` that stands in a directory of its own, `attention` or `parity`: other processors give
    another one, so the published one unless deliverables are asked for.

    Raises:
        EvidenceError: there is none.
    """
    _check_known(name, root, f"{place}: ")
    known = {
        "reference": f"{REFERENCE}/{name}/{table}.tsv",
        "deliverables": f"deliverables/{name}/{table}/{table}.tsv",
    }
    for where in ("reference", "deliverables") if choice == "auto" else (choice,):
        path = root / known[where]
        if path.is_file():
            read = read_tsv(path, table)
            rows = {table: attention_lines(read) if table == "attention" else read}
            base = path.relative_to(root).parent.as_posix()
            return Source(load_suite(name, root), base, f"{known[where]} (sha256 {sha256_file(path)})", rows)
    raise EvidenceError(f"{place}: suite={name} has no {ALONE[table]} here ({', '.join(known.values())})")


def _frozen(name: str, base: Path, published: Path | None, root: Path) -> Source:
    suite = load_resolved_suite(base / "suite.yaml")
    listed = parse_sums(read_plain(base / SUMS_NAME, MAX_SUMS))[0] if (base / SUMS_NAME).is_file() else {}
    runs_path = base / "tables" / "runs.tsv"
    runs, digest = read_tsv(runs_path, "results"), sha256_file(runs_path)
    findings = [*_not_listed(f"deliverables/{name}", base, listed, ["suite.yaml", "tables/runs.tsv"])]
    own = published / "timing.tsv" if published is not None else None
    timing_path = own if own is not None and own.is_file() else base / "timing" / "timing.tsv"
    timing = read_tsv(timing_path, "timing") if suite.timing is not None else []
    if timing and timing_path.is_relative_to(base):
        findings += _not_listed(f"deliverables/{name}", base, listed, ["timing/timing.tsv"])
    told = f"deliverables/{name}/tables/runs.tsv (sha256 {digest})"
    if timing:
        told += f", times from {timing_path.relative_to(root)} (sha256 {sha256_file(timing_path)})"
    other = published / "tables" / "runs.tsv" if published is not None else None
    if other is not None and other.is_file() and sha256_file(other) != digest:
        told += f"; NOT the runs that {other.relative_to(root)} publishes: --source reference compares with those"
    return Source(suite, f"deliverables/{name}", told, _rows(suite, runs, timing), runs, timing, findings)


def _not_listed(shown: str, base: Path, listed: Mapping[str, str], paths: Sequence[str]) -> Iterator[Finding]:
    """Findings for files of a deliverable that rows follow from, and that are not those of its list."""
    for path in paths:
        want, found = listed.get(path, ""), sha256_file(base / path)
        if want != found:
            message = "is not the file that SHA256SUMS lists"
            yield Finding("changed", f"{shown}/{path}", message, expected=want, found=found)


def _rows(suite: Suite, runs: Sequence[Row], timing: Sequence[Row]) -> dict[str, Sequence[Row]]:
    summary = build_summary(suite, runs, timing)
    return {"summary": summary, "comparisons": build_comparisons(suite, runs), "main": build_main(suite, summary)}


def _published(name: str, base: Path, root: Path) -> Source:
    suite, relative = load_suite(name, root), f"{REFERENCE}/{name}"
    timing_path, runs_path = base / "timing.tsv", base / "tables" / "runs.tsv"
    timing = read_tsv(timing_path, "timing") if timing_path.is_file() else []
    if runs_path.is_file():
        runs = read_tsv(runs_path, "results")
        told = f"{relative}/tables/runs.tsv (sha256 {sha256_file(runs_path)})"
        if timing:
            told += f", times from {relative}/timing.tsv (sha256 {sha256_file(timing_path)})"
        return Source(suite, relative, told, _rows(suite, runs, timing), runs, timing)
    paths = {table: base / "tables" / f"{table}.tsv" for table in ("summary", "comparisons")}
    tables: dict[str, Sequence[Row]] = {table: read_tsv(path, table) for table, path in paths.items()}
    missing = {row["exp_id"] for row in tables["summary"]} ^ {row.exp_id for row in suite.rows}
    if missing:
        raise EvidenceError(f"{relative}/tables/summary.tsv: {sorted(missing)[0]!r} is not in both table and suite")
    tables["main"] = build_main(suite, tables["summary"])
    told = ", ".join(f"{relative}/tables/{path.name} (sha256 {sha256_file(path)})" for path in paths.values())
    return Source(suite, relative, f"{told}; {NO_RUNS}", tables, None, timing)
