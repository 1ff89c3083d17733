"""`c2o show`: a suite's table, the evidence of a row or of one run, or a file, readable on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_COLUMNS, MAX_DATA_MANIFEST, MAX_MESSAGE, MAX_TABLE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.printable import printable
from c2o_evidence.records import read_record
from c2o_evidence.suite_stack import PARITY, gap
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.tables import text, verdict
from c2o_evidence.tsv import read_tsv

Row = Mapping[str, Any]
WIDE = 400
MANY_COLUMNS = 12
MOST_COLUMNS = 60  # what no terminal shows side by side


def show(what: str, root: Path) -> int:
    """Prints what `what` names: see `c2o show --help`. Raises EvidenceError if there is no such thing."""
    path = Path(what)
    if path.is_file():
        return _show_file(path)
    name, *rest = (what,) if (path / "tables").is_dir() else what.split(":")
    base = Path(name) if name and (Path(name) / "tables").is_dir() else _results_of(name, root)
    if not rest:
        return show_suite(base, name)
    runs = [run for run in read_tsv(base / "tables" / "runs.tsv", "results") if run["exp_name"] == rest[0]]
    if not runs:
        known = [row["exp_id"] for row in read_tsv(base / "tables" / "summary.tsv", "summary")]
        raise EvidenceError(f"{what}: {rest[0]!r} is not a row of {name}; known: {', '.join(known)}")
    if len(rest) == 1:
        return _show_row(base, name, rest[0], runs)
    if len(rest) != 3 or not all(part.isascii() and part.isdigit() for part in rest[1:]):
        raise EvidenceError(f"{what}: is not SUITE, SUITE:EXP_ID or SUITE:EXP_ID:TRAIN_SEED:EVAL_SEED")
    seeds = int(rest[1]), int(rest[2])
    for run in runs:
        if (run["train_seed"], run["eval_seed"]) == seeds:
            return _show_run(base, run)
    raise EvidenceError(f"{what}: train seed {seeds[0]} with eval seed {seeds[1]} was not run")


def _results_of(name: str, root: Path) -> Path:
    for base in (root / "deliverables" / name, root / "results" / name):
        if (base / "tables" / "summary.tsv").is_file():
            return base
    raise EvidenceError(f"{name}: is no file, and no suite with results here; `c2o status` lists the suites")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", left: int = 1) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not str: rich would read brackets in a cell as colours and links.
    table = Table(title=Text(printable(title)) if title else None, box=None, title_justify="left", padding=(0, 1))
    folded = sys.stdout.isatty()
    for index, name in enumerate(header):
        table.add_column(Text(printable(name)), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # In a pipe nothing is folded: the reader is a program, or a pager.
    Console(highlight=False, width=None if folded else WIDE).print(table)


def show_suite(base: Path, name: str = "") -> int:
    """Prints summary and comparisons of `results/SUITE` or of a bundle. Raises TableError if one is damaged.

    Args:
        name: what was typed for it, so that the commands that are proposed find it too. Default: the suite's name.
    """
    summary = read_tsv(base / "tables" / "summary.tsv", "summary")
    rows = [
        [
            row["exp_id"],
            text.marked(row, row["label"]),
            text.with_deviation(row),
            text.interval(row),
            str(row["n_runs"]),
            text.number(row["inference_fps"], 1),
            text.speedup(row),
        ]
        for row in summary
    ]
    if rows:
        _print_table(("row", "setting", "AP", "95 % interval", "runs", "FPS", "speed-up"), rows, base.name, 2)
        print("".join(f"{note}\n" for note in text.selection_notes(summary)), end="")
    if (base / "attention" / "attention.tsv").is_file():
        _show_attention(read_tsv(base / "attention" / "attention.tsv", "attention"))
    if (base / PARITY).is_file():
        _show_parity(read_tsv(base / PARITY, "parity"))
    comparisons = read_tsv(base / "tables" / "comparisons.tsv", "comparisons")
    if comparisons:
        print()
        body = [
            [
                row["claim"] or "",
                f"{row['a']} − {row['b']}",
                verdict(row),
                text.signed(row["mean_diff"]),
                text.p_value(row["p_value"]),
            ]
            for row in comparisons
        ]
        _print_table(("claim", "difference", "verdict", "AP", "p"), body, "paired over train seeds", 3)
    frozen = (base / SUMS_NAME).is_file()
    place = near(base)
    shown = printable(str(place), len(str(place)))
    print(f"\n{shown}" + (f"\ncheck it: c2o verify {shown} --level tables" if frozen else " (not frozen)"))
    if summary:
        print(f"one row:  c2o show {printable(name or base.name)}:{summary[0]['exp_id']}")
    return 0


def _show_attention(rows: Sequence[Row]) -> None:
    """What a call of each attention kernel costs, by number of nodes."""
    body = [
        [
            f"{row['impl']} {row['backend']}",
            row["bias"],
            str(row["nodes"]),
            text.number(1000 * row["time_s"]),
            text.number(row["peak_bytes"] / 2**20) if row["peak_bytes"] else text.NOTHING,
        ]
        for row in rows
        if row["status"] == "ok"
    ]
    _print_table(("kernel", "bias", "nodes", "ms a call", "peak MiB"), body, "attention", 2)


def _show_parity(rows: Sequence[Row]) -> None:
    """How far the rows of other stacks are from the core's."""
    header = ("row", "stack", "beside", "runs", "equal", "unpaired", "score", "box", "AP")
    body = [
        [
            *(row["exp_id"], row["stack"], row["core"], str(row["n_runs"]), str(row["equal_runs"])),
            f"{row['unpaired']} of {row['n_detections']}",
            *(gap(row[f"max_{name}_diff"]) for name in ("score", "box", "AP")),
        ]
        for row in rows
    ]
    print()
    _print_table(header, body, "stacks, each beside the core's row: greatest differences", 3)


def _show_row(base: Path, name: str, exp_id: str, runs: Sequence[Row]) -> int:
    rows = [
        [
            str(run["train_seed"]),
            str(run["eval_seed"]),
            text.number(run["AP"]),
            run["ckpt_path"],
            run["ckpt_sha256"],
        ]
        for run in runs
    ]
    _print_table(("train seed", "eval seed", "AP", "checkpoint", "sha256"), rows, f"{base.name}: {exp_id}", 5)
    first = runs[0]
    evaluation = base / "eval" / Path(first["ckpt_path"]).parent.parent.name / f"seed{first['train_seed']}"
    if stack := read_record(evaluation / "record.json").sampled_by(exp_id):
        print(f"\nsampled by {printable(stack)}")
    print(f"\none run: c2o show {printable(name)}:{exp_id}:{first['train_seed']}:{first['eval_seed']}")
    return 0


def _show_run(base: Path, run: Row) -> int:
    """The chain of one number: value, results row, checkpoint, record, and whether each link holds now."""
    checkpoint = base / run["ckpt_path"]
    found = sha256_file(checkpoint)
    holds = "the file has it now" if found == run["ckpt_sha256"] else f"BUT THE FILE HAS {found}"
    base = near(base)
    checkpoint = base / run["ckpt_path"]
    experiment, seed = checkpoint.parent.parent.name, checkpoint.parent.name
    evaluation = base / "eval" / experiment / seed
    rows = [
        ["AP", repr(run["AP"])],
        ["from", f"{evaluation / 'results.tsv'}, exp_name={run['exp_name']}, eval_seed={run['eval_seed']}"],
        ["computed from", f"{evaluation / 'detections.safetensors'}, {run['exp_name']}/{run['eval_seed']}"],
        ["by checkpoint", str(checkpoint)],
        ["  sha256", run["ckpt_sha256"]],
        ["", holds],
        ["configuration", str(checkpoint.parent / "config.yaml")],
        ["  sha256", run["config_sha256"]],
        ["data set", run["dataset_sha256"]],
    ]
    for name, folder in (("trained", checkpoint.parent), ("evaluated", evaluation)):
        record = read_record(folder / "record.json")
        rows.append([name, f"{record.started} to {record.ended}"])
        rows.append(["  record", str(folder / "record.json")])
        inputs = [f"{item.path} ({item.sha256[:12]})" for item in record.materials]
        rows.append(["  reading", ", ".join(inputs) or "nothing"])
    if stack := read_record(evaluation / "record.json").sampled_by(run["exp_name"]):
        rows.append(["sampled by", stack])
    _print_table(("", ""), rows, f"{base.name}: {run['exp_name']}", 2)
    return 0 if found == run["ckpt_sha256"] else 1


def _read(path: Path, most: int) -> bytes:
    try:
        return read_plain(path, most)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None


def _show_file(path: Path) -> int:
    if path.suffix == ".tsv":
        _show_tsv(path)
    elif path.suffix == ".json":
        from rich.console import Console
        from rich.highlighter import JSONHighlighter
        from rich.text import Text

        try:
            document = json.dumps(parse_json(_read(path, MAX_DATA_MANIFEST)), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError) as error:
            raise EvidenceError(f"{path}: is not JSON: {error}") from None
        shown = "\n".join(printable(line, len(line)) for line in document.split("\n"))
        Console().print(JSONHighlighter()(Text(shown)), soft_wrap=True)
    elif path.suffix == ".safetensors":
        rows = [
            ["sha256", sha256_file(path)],
            *([key, value] for key, value in sorted(read_metadata(path).items())),
        ]
        _print_table(("", ""), rows, str(path), 2)
    else:
        raise EvidenceError(f"{path}: is not a TSV, a record (.json) or a checkpoint (.safetensors)")
    return 0


def _show_tsv(path: Path) -> None:
    try:
        text = _read(path, MAX_TABLE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{path}: is not UTF-8 text (byte {error.start}); restore the file") from None
    n_columns = text.split("\n", 1)[0].count("\t") + 1
    if n_columns > MAX_COLUMNS:
        raise EvidenceError(f"{path}: has {n_columns} columns, more than the limit of {MAX_COLUMNS}")
    lines = [line.split("\t") for line in text.rstrip("\n").split("\n")]
    if len({len(line) for line in lines}) != 1:
        raise EvidenceError(f"{path}: its lines do not have the same number of cells; restore the file")
    shown = _shown_columns(lines)
    body = [[_short(line[index]) for index in shown] for line in lines[1:]]
    _print_table([lines[0][index] for index in shown], body, str(path))
    if len(shown) < len(lines[0]):
        known = set(shown)
        hidden = [name for index, name in enumerate(lines[0]) if index not in known]
        print(f"not shown: {printable(', '.join(hidden), MAX_MESSAGE)}")


def _shown_columns(lines: Sequence[Sequence[str]]) -> list[int]:
    """All columns of a narrow table; of a wide one those that are no digests and no AP of one class."""
    columns = range(len(lines[0]))
    if len(columns) <= MANY_COLUMNS:
        return list(columns)
    kept = [i for i in columns if not lines[0][i].endswith("sha256") and not lines[0][i].startswith("AP-")]
    return kept[:MOST_COLUMNS]


def near(path: Path) -> Path:
    """The path as seen from here, where that is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _short(cell: str) -> str:
    """Digests by their first digits, long floats rounded."""
    if len(cell) == 64 and all(character in "0123456789abcdef" for character in cell):
        return cell[:12]
    if "." in cell and len(cell) > 8:
        try:
            return f"{float(cell):.4g}"
        except ValueError:
            return cell
    return cell
