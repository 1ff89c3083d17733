"""Checking and writing published tables: marked places of Markdown files, and the files of manifests/reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.digests import sha256_bytes, sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_SUMS, MAX_TABLE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.published.diff import compare_place
from c2o_evidence.published.identities import check_comparisons, check_summary
from c2o_evidence.published.kinds import KINDS, kind_of, make_table
from c2o_evidence.published.markers import Place, find_places, read_lines
from c2o_evidence.published.sources import ALONE, REFERENCE, Source, find_alone, find_source
from c2o_evidence.suite_stack import PARITY
from c2o_evidence.sums import parse_sums
from c2o_evidence.tables import build_all, main_markdown, summary_markdown
from c2o_evidence.tsv import format_tsv
from c2o_evidence.verify.compare import compare_text, compare_tsv
from c2o_evidence.verify.findings import Finding

SCHEMAS = {"runs": "results", "summary": "summary", "main": "main", "comparisons": "comparisons"}


@dataclass
class Checked:
    """One table or set of tables that was looked at: where, what, what its rows are, how many cells, what is wrong, and
    in `notes` what was not checked.
    """

    path: str
    what: str
    source: str
    cells: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Publisher:
    """Checks or writes tables below `root`; each suite's rows are read once."""

    def __init__(self, root: Path, choice: str = "auto") -> None:
        self.root = root
        self.choice = choice
        self._sources: dict[tuple[str, str], Source] = {}

    def source(self, place: Place) -> Source:
        name, table = place.marker.suite, KINDS[place.marker.table].tsv
        own = table if table in ALONE else ""
        if (name, own) not in self._sources:
            find = partial(find_alone, own) if own else find_source
            self._sources[name, own] = find(name, self.root, self.choice, place.name)
        return self._sources[name, own]

    @property
    def sources(self) -> list[Source]:
        """Those that were used."""
        return list(self._sources.values())

    def places(self, paths: Sequence[Path]) -> list[tuple[Path, list[str], list[Place]]]:
        """The marked places of files, every marker checked before anything is compared or written."""
        found = []
        for path in paths:
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
            lines = read_lines(path, name)
            places = find_places(lines, name)
            for place in places:
                kind_of(place.marker, place.name)
                self.source(place)
            found.append((path, lines, places))
        return found

    def check_files(self, paths: Sequence[Path]) -> list[Checked]:
        """Every marked table of the files.

        Raises:
            EvidenceError: a comment is malformed or names what is not known.
        """
        return [self._check(place) for _, _, places in self.places(paths) for place in places]

    def _check(self, place: Place) -> Checked:
        source = self.source(place)
        table = self._table(place)
        what = f"{place.marker.table} of {place.marker.suite}"
        cells = len(table.rows) * len(table.columns)
        return Checked(place.name, what, source.told, cells, list(compare_place(place, table)))

    def _table(self, place: Place) -> Any:
        rows = self.source(place).rows[KINDS[place.marker.table].tsv]
        return make_table(place.marker, rows, place.name)

    def write_files(self, paths: Sequence[Path]) -> list[str]:
        """Puts the recomputed tables in; the places that changed. Nothing is written if any comment is wrong."""
        found = self.places(paths)
        tables = {place: self._table(place).lines() for _, _, places in found for place in places}
        changed = []
        for path, lines, places in found:
            different = [place for place in places if list(place.lines) != tables[place]]
            for place in reversed(different):  # from below, so that the places above stay where they are
                lines[place.first + 1 : place.last] = tables[place]
            if different:
                atomic_write(path, "\n".join(lines))
                changed += [place.name for place in different]
        return changed


def check_reference(name: str, root: Path) -> Checked:
    """The files of manifests/reference/NAME/tables against its runs.tsv, and that against the published digests.

    Where no runs are published, summary and comparisons are checked for contradictions and the other files
    against them.
    """
    base, relative = root / REFERENCE / name, f"{REFERENCE}/{name}"
    source = find_source(name, root, "reference")
    checked = Checked(f"{relative}/tables", f"files of {name}", source.told)
    expected = _expected(source)
    for path in sorted((base / "tables").iterdir()):
        place = f"{relative}/tables/{path.name}"
        if path.name not in expected:
            if path.name not in ("summary.tsv", "comparisons.tsv"):
                checked.findings.append(Finding("extra", place, "nothing says what this table should be"))
            continue
        try:
            text = read_plain(path, MAX_TABLE).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            checked.findings.append(Finding("malformed", place, str(why)))
            continue
        if path.suffix == ".tsv":
            checked.cells += expected[path.name].count("\t") + expected[path.name].count("\n")
            checked.findings += compare_tsv(place, SCHEMAS[path.stem], expected[path.name], text)
        else:
            checked.findings += compare_text(place, expected[path.name], text)
    if source.runs is not None:
        checked.findings += _bound(source, base / "DIGESTS", relative)
    else:
        summary, comparisons = source.rows["summary"], source.rows["comparisons"]
        checked.cells += sum(len(row) for row in [*summary, *comparisons])
        checked.findings += check_summary(f"{relative}/tables/summary.tsv", summary, source.timing)
        checked.findings += check_comparisons(f"{relative}/tables/comparisons.tsv", comparisons, summary)
    return checked


def _expected(source: Source) -> dict[str, str]:
    """The text of each file that follows from the rows."""
    if source.runs is not None:
        files = build_all(source.suite, source.runs, source.timing)
        del files["runs.tsv"]
        return files | {"runs.tsv": format_tsv(source.runs, "results", "runs.tsv")}
    title, summary, main = source.suite.title or source.suite.name, source.rows["summary"], source.rows["main"]
    return {
        "summary.md": summary_markdown(title, summary, source.rows["comparisons"], source.timing),
        "main.tsv": format_tsv(main, "main", "main.tsv"),
        "main.md": main_markdown(title, main),
    }


def _bound(source: Source, digests: Path, relative: str) -> Iterator[Finding]:
    """Whether the runs are those of the results files whose digests are published, and name those checkpoints."""
    if not digests.is_file():
        message = "is not there, so nothing binds the published runs to results and checkpoints"
        yield Finding("missing", f"{relative}/DIGESTS", message)
        return
    listed, problems = parse_sums(read_plain(digests, MAX_SUMS))
    for problem in problems:
        yield Finding("malformed", f"{relative}/DIGESTS", problem.message, f"line {problem.line}")
    own = digests.with_name("parity.tsv")  # follows from detections, which are not published
    if own.is_file() and (found := sha256_file(own)) != (want := listed.get(PARITY, "")):
        yield Finding("stale", f"{relative}/parity.tsv", f"is not {PARITY} of {relative}/DIGESTS", "", "", want, found)
    path = f"{relative}/tables/runs.tsv"
    for experiment, seed in source.suite.eval_jobs:
        names = {row.exp_id for row in source.suite.rows_of(experiment)}
        rows = [row for row in source.runs or () if row["exp_name"] in names and row["train_seed"] == seed]
        place, file = f"experiment={experiment}, train_seed={seed}", f"eval/{experiment}/seed{seed}/results.tsv"
        digest = sha256_bytes(format_tsv(rows, "results", path).encode()) if rows else ""
        if digest != listed.get(file):
            message = f"these rows are not {file} as {relative}/DIGESTS lists it"
            yield Finding("stale", path, message, place, "", listed.get(file, ""), digest)
        for row in rows:
            if row["ckpt_sha256"] != listed.get(row["ckpt_path"]):
                message = f"is not the checkpoint that {relative}/DIGESTS lists"
                run = f"{place}, eval_seed={row['eval_seed']}"
                want = listed.get(row["ckpt_path"], "")
                yield Finding("stale", path, message, run, "ckpt_sha256", want, row["ckpt_sha256"])


def default_files(root: Path) -> list[Path]:
    """README.md and docs/*.md.

    Raises:
        EvidenceError: there is none of them.
    """
    paths = [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]
    if not paths:
        raise EvidenceError(f"{root}: has no README.md and no docs/*.md; name a Markdown file")
    return paths


def reference_names(root: Path) -> list[str]:
    """Suites with tables in manifests/reference."""
    return sorted(path.parent.name for path in (root / REFERENCE).glob("*/tables"))
