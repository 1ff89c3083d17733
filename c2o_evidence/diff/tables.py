"""Two tables of one kind, row by row: results, results manifests, summaries, timings, ledgers."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c2o_evidence.diff.verdicts import (
    Move,
    RowDiff,
    Section,
    Test,
    Verdict,
    from_moments,
    over_seeds,
    same_number,
    section,
)
from c2o_evidence.metrics import METRICS, OF_SOME_SETS
from c2o_evidence.stats import mean
from c2o_evidence.tsv import TsvSchema, parse_tsv, tsv_schema
from c2o_evidence.verify.compare import same_cell

Row = Mapping[str, Any]
HEADLINE = (*METRICS, *OF_SOME_SETS)
_SEED = re.compile(r"(^|/)seed([0-9]+)(/|$)")
_SCALES = (50.0, 200.0)  # a ratio between these, of values that are all at most 1 on one side, is 0-1 against 0-100


@dataclass(frozen=True)
class Rules:
    """How rows of one kind are judged.

    Attributes:
        must: columns that have to agree for numbers to be compared, and what to say where they do not.
        says: columns that may differ beside equal numbers, and what to call them.
        numbers: columns whose move is told; empty: all that hold real numbers.
        quiet: real numbers that follow from others: they decide nothing.
    """

    must: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()


_CKPT = {"ckpt_sha256": "checkpoint digest", "ckpt_path": "checkpoint path"}
_TIMED = ("device", "dtype", "threads", "batch", "images", "image_height", "image_width")
RULES: dict[str, Rules] = {
    "results": Rules(
        must={"dataset_sha256": "another data set", "sample_step": "another sample_step"},
        says={**_CKPT, "config_sha256": "config digest", "code_sha256": "code digest"},
    ),
    "results_manifest": Rules(
        must={"n_runs": "another number of runs"},
        says={
            "tsv_sha256": "TSV digest",
            "ckpt_sha256s": "checkpoint digests",
            "ckpts": "checkpoint paths",
            "notes": "notes",
        },
    ),
    "summary": Rules(
        must={"sample_step": "another sample_step", "n_eval_seeds": "another number of eval seeds"},
        says={
            "n_train_seeds": "train seeds",
            "n_runs": "runs",
            "experiment": "experiment",
            "label": "label",
            "notes": "notes",
            "hardware_id": "hardware",
        },
    ),
    "timing": Rules(
        must={
            "hardware_id": "other hardware",
            **{name: f"timed with another {name}" for name in _TIMED},
            "sample_step": "another sample_step",
        },
        says={**_CKPT, "repeats": "repeats", "warmup": "warm-up", "hardware": "name of the hardware"},
        numbers=("inference_s_per_img",),
        quiet=("inference_s_per_img_min", "inference_s_per_img_max", "inference_fps"),
    ),
}
_SUMMARY_TIMES = ("inference_s_per_img", "inference_fps", "speedup")


def diff_tables(kind: str, text_a: str, text_b: str, names: tuple[str, str], title: str) -> Section:
    """Compares two tables of schema `kind` (a key of RULES).

    Args:
        names: how messages call the two files.

    Raises:
        TableError: one of them is malformed.
    """
    schema, rules = tsv_schema(kind), RULES[kind]
    rows_a = parse_tsv(text_a, schema, names[0])
    if text_a == text_b:
        return Section(title, "identical", {"identical": len(rows_a)} if rows_a else {})
    rows_b = parse_tsv(text_b, schema, names[1])
    a, b = (_by_key(schema, rows) for rows in (rows_a, rows_b))
    columns = _Columns(schema, rules, rows_a, rows_b)
    facts = columns.facts()
    if scale := _other_scale(a, b, columns.metrics if kind != "timing" else ()):
        rows = [RowDiff(key_text(schema, key), "not comparable", (scale,)) for key in a.keys() & b.keys()]
        return section(title, sorted(rows, key=lambda row: row.row), facts=[*facts, scale])
    settings = list(_settings(kind, rows_a, rows_b, columns)) if kind in _GROUPS else []
    return section(title, _rows(kind, schema, a, b, columns), settings=settings, facts=facts)


def key_text(schema: TsvSchema, key: tuple[Any, ...]) -> str:
    """The key of a row in words: `exp_name=student_1, train_seed=0, eval_seed=3`; a single name as it is."""
    return str(key[0]) if len(key) == 1 else ", ".join(f"{n}={v}" for n, v in zip(schema.key, key, strict=True))


def _by_key(schema: TsvSchema, rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[name] for name in schema.key): row for row in rows}


class _Columns:
    """The columns of two tables: those of both that hold numbers, and those of one alone."""

    def __init__(self, schema: TsvSchema, rules: Rules, a: Sequence[Row], b: Sequence[Row]) -> None:
        self.rules = rules
        left, right = (list(rows[0]) if rows else [] for rows in (a, b))
        self.only_a = [name for name in left if name not in right and right]
        self.only_b = [name for name in right if name not in left and left]
        common = [name for name in left if name in right]
        real = [name for name in common if (c := schema.column(name)) is not None and c.kind == "float"]
        self.metrics = tuple(name for name in real if name not in rules.quiet)
        self.quiet = tuple(name for name in real if name in rules.quiet)

    def facts(self) -> list[str]:
        """What is to be said about columns that cannot be compared."""
        pairs = (("A", self.only_a), ("B", self.only_b))
        return [f"columns of {side} alone, not compared: {', '.join(names)}" for side, names in pairs if names]


def _other_scale(a: Mapping[Any, Row], b: Mapping[Any, Row], metrics: Sequence[str]) -> str:
    """Why the two tables are not on one scale (0-1 against 0-100), or nothing."""
    names = [name for name in metrics if name.startswith(("AP", "mean_AP"))]
    pairs = [(a[key][name], b[key][name]) for key in a if key in b for name in names]
    pairs = [(x, y) for x, y in pairs if x > 0 and y > 0]
    if not pairs:
        return ""
    tops = max(x for x, _ in pairs), max(y for _, y in pairs)
    ratio = statistics.median(y / x for x, y in pairs)
    for small, large, times in ((0, 1, ratio), (1, 0, 1 / ratio)):
        if tops[small] <= 1 < tops[large] and _SCALES[0] < times < _SCALES[1]:
            return f"another scale: {'AB'[small]} is from 0 to 1, {'AB'[large]} from 0 to 100"
    return ""


def _rows(
    kind: str, schema: TsvSchema, a: Mapping[Any, Row], b: Mapping[Any, Row], columns: _Columns
) -> Iterator[RowDiff]:
    for key, row in a.items():
        name = key_text(schema, key)
        yield _row(kind, name, row, b[key], columns) if key in b else RowDiff(name, "removed")
    for key in b:
        if key not in a:
            yield RowDiff(key_text(schema, key), "added")


def _row(kind: str, name: str, a: Row, b: Row, columns: _Columns) -> RowDiff:
    rules = columns.rules
    if why := tuple(f"{text}: {_short(a[c])} against {_short(b[c])}" for c, text in rules.must.items() if a[c] != b[c]):
        return RowDiff(name, "not comparable", why)
    says = [f"{text}: {_short(a[c])} -> {_short(b[c])}" for c, text in rules.says.items() if a[c] != b[c]]
    moved = [c for c in columns.metrics if not _same(c, a[c], b[c])]
    if kind == "summary" and a["hardware_id"] != b["hardware_id"]:
        moved = [c for c in moved if c not in _SUMMARY_TIMES]
        says.append("times not compared: other hardware")
    moves = tuple(
        Move(c, a[c], b[c], _summary_test(a, b) if c == "mean_AP" and kind == "summary" else None) for c in moved
    )
    if kind == "timing" and moves:
        low, high = (
            max(row["inference_s_per_img_min"] for row in (a, b)),
            min(r["inference_s_per_img_max"] for r in (a, b)),
        )
        ratio = b["inference_s_per_img"] / a["inference_s_per_img"]
        if low <= high:
            says.append(f"{ratio:.3f} times the seconds, within the ranges of the repeats, which overlap")
            return RowDiff(name, "same numbers", tuple(says))
        says.append(f"{ratio:.3f} times the seconds; the ranges of the repeats are apart; one timing a row: no test")
    says += [f"{c} is undefined in {'A' if a[c] != a[c] else 'B'}" for c in moved if (a[c] != a[c]) != (b[c] != b[c])]
    if moves:
        return RowDiff(name, "moved", tuple(says), moves)
    same = not says and all(repr(a[c]) == repr(b[c]) for c in (*columns.metrics, *columns.quiet))
    return RowDiff(name, "identical" if same else "same numbers", tuple(says))


def _same(column: str, a: float, b: float) -> bool:
    """As numbers; the columns that scipy's special functions fill may differ in rounding."""
    return same_number(a, b) or same_cell(column, repr(a), repr(b))


def _summary_test(a: Row, b: Row) -> Test:
    """A summary has no values by train seed, so its test is Welch's, from mean, deviation and number."""
    return from_moments(*((row["mean_AP"], row["std_AP_train_seeds"], row["n_train_seeds"]) for row in (a, b)))


def _short(value: Any) -> str:
    """A cell for a sentence: digests by their first digits."""
    text = "nothing" if value is None else str(value)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


@dataclass
class _Setting:
    """All runs of one row of a suite: train seed -> eval seed -> row (eval seed 0 where a row holds their mean)."""

    runs: dict[int, dict[int, Row]] = field(default_factory=dict)

    def values(self, metric: str) -> dict[int, list[float]]:
        return {seed: [runs[e][metric] for e in sorted(runs)] for seed, runs in sorted(self.runs.items())}

    def of(self, column: str) -> set[Any]:
        return {run[column] for runs in self.runs.values() for run in runs.values()}

    def eval_seeds(self, train_seeds: set[int]) -> dict[int, list[int]]:
        return {seed: sorted(self.runs[seed]) for seed in sorted(train_seeds)}


def _run_place(row: Row) -> tuple[str, int, int]:
    return row["exp_name"], row["train_seed"], row["eval_seed"]


def _manifest_place(row: Row) -> tuple[str, int, int]:
    """The row of the suite, over all train seeds: their TSVs differ in `seedS` alone."""
    match = _SEED.search(row["tsv_path"])
    path = row["tsv_path"]
    if match is None:
        return f"{row['exp_id']} ({path})", 0, 0
    return f"{row['exp_id']} ({path[: match.start(2)]}*{path[match.end(2) :]})", int(match[2]), 0


_GROUPS = {"results": _run_place, "results_manifest": _manifest_place}


def _grouped(kind: str, rows: Sequence[Row]) -> dict[str, _Setting]:
    groups: dict[str, _Setting] = {}
    for row in rows:
        name, train_seed, eval_seed = _GROUPS[kind](row)
        groups.setdefault(name, _Setting()).runs.setdefault(train_seed, {})[eval_seed] = row
    return groups


def _settings(kind: str, rows_a: Sequence[Row], rows_b: Sequence[Row], columns: _Columns) -> Iterator[RowDiff]:
    a, b = _grouped(kind, rows_a), _grouped(kind, rows_b)
    for name, setting in a.items():
        if name not in b:
            yield RowDiff(name, "removed")
        elif (found := _setting(kind, name, setting, b[name], columns)).verdict != "identical":
            yield found
    for name in b:
        if name not in a:
            yield RowDiff(name, "added")


def _setting(kind: str, name: str, a: _Setting, b: _Setting, columns: _Columns) -> RowDiff:
    why = []
    for column, text in columns.rules.must.items():
        left, right = a.of(column), b.of(column)
        if left != right:
            why.append(f"{text}: {_listed(left)} against {_listed(right)}")
    seeds = set(a.runs), set(b.runs)
    common = seeds[0] & seeds[1]
    evals = ({e for runs in side.runs.values() for e in runs} for side in (a, b))
    left, right = evals
    if left != right or a.eval_seeds(common) != b.eval_seeds(common):
        uneven = "; not the same ones for each train seed" if left == right else ""
        why.append(f"other eval seeds: {_listed(left)} against {_listed(right)}{uneven}")
    if why:
        return RowDiff(name, "not comparable", tuple(why))
    says = []
    if seeds[0] != seeds[1]:
        says.append(f"train seeds: {_listed(seeds[0])} against {_listed(seeds[1])}")
    wanted = [n for n in columns.metrics if n in HEADLINE] if kind == "results" else ["mean_AP"]
    moves = []
    for metric in wanted:
        values_a, values_b = a.values(metric), b.values(metric)
        if repr(values_a) != repr(values_b):
            left_mean, right_mean = (mean([mean(v) for v in side.values()]) for side in (values_a, values_b))
            moves.append(Move(metric, left_mean, right_mean, over_seeds(values_a, values_b)))
    verdict: Verdict = "moved" if moves else "identical"
    return RowDiff(name, verdict, tuple(says), tuple(moves))


def _listed(values: set[Any]) -> str:
    """Values for a sentence, sorted, whole numbers in a row as a range."""
    ordered = sorted(values)
    if len(ordered) > 2 and all(isinstance(v, int) for v in ordered) and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}-{ordered[-1]}"
    shown = ", ".join(_short(value) for value in ordered[:6])
    return shown + (f", … ({len(ordered)})" if len(ordered) > 6 else "")


def diff_ledgers(text_a: str, text_b: str, names: tuple[str, str], title: str) -> Section:
    """Compares two ledgers by what is frozen now under each name. Raises TableError."""
    from c2o_evidence.ledger import SCHEMA, current_by_name

    a, b = (
        current_by_name(parse_tsv(text, SCHEMA, name), name) for text, name in ((text_a, names[0]), (text_b, names[1]))
    )
    if text_a == text_b:
        return Section(title, "identical", {"identical": len(a)} if a else {})
    rows = []
    for name, frozen in a.items():
        other = b.get(name)
        if other is None:
            rows.append(RowDiff(name, "removed"))
        elif other.root_sha256 == frozen.root_sha256:
            same = other == frozen
            says = () if same else (f"revision {frozen.revision} -> {other.revision}, or another history",)
            rows.append(RowDiff(name, "identical" if same else "same numbers", says))
        else:
            words = [f"root digest: {_short(frozen.root_sha256)} -> {_short(other.root_sha256)}"]
            if frozen.root_sha256 in other.history:
                words.append(f"B has frozen anew since A (revision {frozen.revision} -> {other.revision})")
            elif other.root_sha256 in frozen.history:
                words.append(f"B is older than A (revision {frozen.revision} -> {other.revision})")
            rows.append(RowDiff(name, "differs", (*words, "compare the bundles for their numbers")))
    rows += [RowDiff(name, "added") for name in b if name not in a]
    return section(title, rows, facts=["a ledger has no numbers: the digest of a bundle stands for all of them"])
