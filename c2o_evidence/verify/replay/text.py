"""A replay for a reader: counts of verdicts by row, what was trained again, and what is not the same here."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence

from c2o_evidence.progress import format_duration
from c2o_evidence.verify.replay.result import ReplayResult, RunVerdict
from c2o_evidence.verify.replay.verdicts import VERDICTS, Delta, Judged

SHORT_DIGEST = 12
WIDTH = 160  # in a pipe nothing is folded
REASONS_SHOWN = 20
COLUMNS = {verdict: verdict.replace("-", " ") for verdict in VERDICTS} | {"bit-exact": "bit-exact"}


def describe_replay(result: ReplayResult) -> list[str]:
    """The lines that stand between the findings and the verdict of a report; none where nothing was replayed."""
    if not result.runs:
        return []
    done = "evaluated again" if result.level == "eval" else "trained and evaluated again"
    lines = [f"{len(result.runs)} runs {done} in {format_duration(result.seconds)}:"]
    lines += _table(result)
    if result.checkpoints:
        counts = ", ".join(f"{n} {likeness.replace('-', ' ')}" for likeness, n in result.checkpoint_counts().items())
        lines.append(f"checkpoints trained again: {counts}")
        lines += [f"  {text}: {count}" for text, count in _other_checkpoints(result).items()]
    return lines + _reasons(result)


def summary(result: ReplayResult) -> str:
    """`198 bit-exact, 2 within tolerance`."""
    return ", ".join(f"{count} {COLUMNS[verdict]}" for verdict, count in result.counts().items() if count)


def _table(result: ReplayResult) -> list[str]:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    table.add_column("row")
    for name in ("runs", *COLUMNS.values()):
        table.add_column(name, justify="right")
    table.add_column("furthest run")
    means = {item.exp_id: item.judged for item in result.tables}
    if means:
        table.add_column("mean of the row")
    for exp_id in dict.fromkeys(run.exp_id for run in result.runs):
        runs = [run for run in result.runs if run.exp_id == exp_id]
        counts = Counter(run.judged.verdict for run in runs)
        cells = [exp_id, str(len(runs)), *(str(counts[verdict] or "-") for verdict in VERDICTS), _furthest(runs)]
        table.add_row(*cells, *([_mean(means[exp_id])] if means else []))
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, highlight=False).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def _furthest(runs: Iterable[RunVerdict]) -> str:
    worst = [run.judged.worst for run in runs if run.judged.worst is not None]
    return _delta(max(worst, key=lambda delta: delta.excess)) if worst else "-"


def _delta(delta: Delta) -> str:
    return f"{delta.metric} {delta.amount:+.3g} (tolerance {delta.tolerance:g})"


def _mean(judged: Judged) -> str:
    return COLUMNS[judged.verdict] + (f", {_delta(judged.worst)}" if judged.worst else "")


def _other_checkpoints(result: ReplayResult) -> dict[str, int]:
    """What the checkpoints that are not the same file have in common, and how many they are."""
    return Counter(
        f"{item.verdict.replace('-', ' ')}, other metadata ({', '.join(item.metadata) or 'none'})"
        for item in result.checkpoints
        if item.verdict in ("same-weights", "another-file")
    )


def _reasons(result: ReplayResult) -> list[str]:
    replayed = sum(run.judged.verdict != "not-replayed" for run in result.runs)
    found = result.reason_counts()
    if not found:
        differs = any(run.judged.verdict in ("differs", "within-tolerance") for run in result.runs)
        told = "nothing that the records hold is another here: hardware, environment, tools and code are the same"
        return [told] if differs else []
    lines = ["not the same here as in the bundle's records (it may move a result, or not):"]
    shown: Sequence[str] = [
        f"  {_short(str(reason))}" + ("" if count == replayed else f" ({count} of {replayed} runs)")
        for reason, count in found.items()
    ]
    more = [f"  … and {len(shown) - REASONS_SHOWN} more (--json lists all)"] if len(shown) > REASONS_SHOWN else []
    return [*lines, *shown[:REASONS_SHOWN], *more]


def _short(text: str) -> str:
    """Digests in their first digits."""
    words = (word[:SHORT_DIGEST] if len(word) == 64 and word.isalnum() else word for word in text.split(" "))
    return " ".join(words)
