"""The kinds of published tables: which columns there are and what stands in a cell, from the rows of the TSVs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.metrics import OF_SOME_SETS
from c2o_evidence.published import attention
from c2o_evidence.published.markers import Marker
from c2o_evidence.schemas import did_you_mean
from c2o_evidence.suite_stack import gap
from c2o_evidence.tables import text, verdict

Row = Mapping[str, Any]
Cell = Callable[[Row], str]


@dataclass(frozen=True)
class Kind:
    """A kind of table: the TSV of its rows, its columns (all, the usual ones, those of text, those that name a row)."""

    tsv: str
    cells: Mapping[str, Cell]
    usual: tuple[str, ...]
    left: frozenset[str]
    key: tuple[str, ...]


def _metric(name: str) -> Cell:
    return lambda row: text.number(row.get(name))


def _label(row: Row) -> str:
    return text.marked(row, row["label"])


def _seeds(row: Row) -> str:
    return f"{row['n_runs']} ({row['n_train_seeds']} x {row['n_eval_seeds']})"


def _interval(row: Row) -> str:
    return f"{text.signed(row['ci95_low'])} to {text.signed(row['ci95_high'])}"


def _claim(row: Row) -> str:
    return row["claim"] or f"{row['a']} > {row['b']}"


def _short_verdict(row: Row) -> str:
    return verdict(row).split(" (")[0].split(" at n")[0].split(":")[0]


_SUMMARY: dict[str, Cell] = {
    "setting": _label,
    "arm": _label,
    "row": lambda row: str(row["exp_id"]),
    "steps": lambda row: str(row["sample_step"]),
    "runs": lambda row: str(row["n_runs"]),
    "AP": text.with_deviation,
    "mean AP": _metric("mean_AP"),
    "std (pop)": _metric("std_AP_pop"),
    "std (sample)": _metric("std_AP_sample"),
    "95 % interval": text.interval,
    **{name: _metric(f"mean_{name}") for name in ("AP50", "AP75", "APs", "APm", "APl")},
    "ms/image": lambda row: text.number(row["inference_s_per_img"] * 1000, 1),
    "FPS": lambda row: text.number(row["inference_fps"], 1),
    "speed-up": text.speedup,
    **{heading: _metric(f"mean_{name}") for name, heading in OF_SOME_SETS.items()},
    "between train seeds": _metric("std_between_train"),
    "between eval seeds": _metric("std_within_eval"),
    "sample deviation": _metric("std_AP_sample"),
}
_COMPARISONS: dict[str, Cell] = {
    "claim": _claim,
    "verdict": verdict,
    "95 % interval": _interval,
    "p": lambda row: text.p_value(row["p_value"]),
    "pairs": lambda row: str(row["n_pairs"]),
}
_MAIN: dict[str, Cell] = {
    "method": lambda row: text.marked(row, row["method"]),
    **{name: (lambda row, name=name: row[name] or "") for name in ("type", "backbone", "epochs", "notes")},  # type: ignore[misc]
    "row": lambda row: str(row["exp_id"]),
    "runs": lambda row: str(row["n_runs"]),
    **{name: _SUMMARY[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "FPS")},
}
_PARITY: dict[str, Cell] = {
    "row": lambda row: str(row["exp_id"]),
    "stack": lambda row: str(row["stack"]),
    "beside": lambda row: str(row["core"]),
    "steps": lambda row: str(row["sample_step"]),
    "runs": lambda row: str(row["n_runs"]),
    "bit for bit": lambda row: str(row["equal_runs"]),
    "detections": lambda row: str(row["n_detections"]),
    "unpaired": lambda row: str(row["unpaired"]),
    **{name: (lambda row, name=name: gap(row[f"max_{name}_diff"])) for name in ("score", "box", "AP")},  # type: ignore[misc]
}
_TEXTS = frozenset(
    {"setting", "arm", "row", "claim", "rows", "verdict", "method", "type", "backbone", "epochs", "notes"}
)

KINDS: dict[str, Kind] = {
    "summary": Kind("summary", _SUMMARY, text.SUMMARY_HEADER, _TEXTS, ("setting", "arm", "row")),
    "spread": Kind(
        "summary",
        _SUMMARY,
        ("setting", "between train seeds", "between eval seeds", "sample deviation"),
        _TEXTS,
        ("setting", "arm", "row"),
    ),
    "arms": Kind(
        "summary",
        _SUMMARY | {"runs": _seeds},
        ("arm", "runs", "AP", "95 % interval"),
        _TEXTS,
        ("setting", "arm", "row"),
    ),
    "comparisons": Kind(
        "comparisons",
        _COMPARISONS
        | {"difference": lambda row: f"{row['a']} − {row['b']}", "AP": lambda row: text.signed(row["mean_diff"])},
        ("claim", "difference", "verdict", "AP", "95 % interval", "p", "pairs"),
        _TEXTS | {"difference"},
        ("claim", "difference"),
    ),
    "claims": Kind(
        "comparisons",
        _COMPARISONS
        | {
            "rows": lambda row: f"`{row['a']}` − `{row['b']}`",
            "difference": lambda row: text.signed(row["mean_diff"]),
            "verdict": _short_verdict,
        },
        ("claim", "rows", "difference", "95 % interval", "p", "pairs", "verdict"),
        _TEXTS,
        ("claim", "rows"),
    ),
    "main": Kind("main", _MAIN, text.MAIN_HEADER, _TEXTS, ("method", "type", "notes", "epochs", "row")),
    "parity": Kind("parity", _PARITY, tuple(n for n in _PARITY if n != "beside"), _TEXTS | {"stack"}, ("row",)),
    "attention": Kind("attention", attention.CELLS, attention.USUAL, frozenset({"bias"}), ("N", "bias")),
}


@dataclass(frozen=True)
class Table:
    """A table as it should be: the names of its columns, its cells, and which columns name a row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    key: tuple[int, ...]
    left: tuple[bool, ...]

    def lines(self) -> list[str]:
        """The table in Markdown."""
        rule = "|" + "|".join("---" if left else "---:" for left in self.left) + "|"
        return [_line(self.columns), rule, *map(_line, self.rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def kind_of(marker: Marker, place: str) -> Kind:
    """The kind that a marker names, its columns checked.

    Raises:
        EvidenceError: the table or a column is unknown; the message says which are known.
    """
    if marker.table not in KINDS:
        raise EvidenceError(f"{place}: table={marker.table}: unknown table; known: {', '.join(KINDS)}")
    kind = KINDS[marker.table]
    for name in marker.columns:
        if name not in kind.cells:
            known = ", ".join(kind.cells)
            raise EvidenceError(f"{place}: {name!r} is no column of table={marker.table}; known: {known}")
        if marker.columns.count(name) > 1:
            raise EvidenceError(f"{place}: column {name!r} is named twice; name it once")
    return kind


def make_table(marker: Marker, rows: Sequence[Row], place: str) -> Table:
    """The table that a marker asks for, from the rows of its TSV.

    Raises:
        EvidenceError: the table, a column or a row is unknown; the message says which are known.
    """
    kind = kind_of(marker, place)
    columns = marker.columns or kind.usual
    if not marker.columns and marker.table == "summary" and rows:
        columns += tuple(heading for name, heading in OF_SOME_SETS.items() if f"mean_{name}" in rows[0])
    chosen = list(rows)
    if marker.rows:
        names: dict[str, list[Row]] = {}
        for row in rows:
            for name in _row_names(row):
                names.setdefault(name, []).append(row)
        for name in marker.rows:
            if name not in names:
                raise EvidenceError(f"{place}: {name!r} is no row of {marker.suite}; {did_you_mean(name, names)}")
        chosen = [row for name in marker.rows for row in names[name]]
    return Table(
        columns=tuple(columns),
        rows=tuple(tuple(kind.cells[name](row) for name in columns) for row in chosen),
        key=tuple(index for index, name in enumerate(columns) if name in kind.key) or (0,),
        left=tuple(name in kind.left for name in columns),
    )


def _row_names(row: Row) -> list[str]:
    """What `rows=` calls a row: its exp_id; of a comparison `A-B`; of attention `NODES/BIAS`, or NODES for all."""
    if "nodes" in row:
        return [f"{row['nodes']}/{row['bias']}", str(row["nodes"])]
    return [str(row["exp_id"]) if "exp_id" in row else f"{row['a']}-{row['b']}"]
