"""The table of the attention benchmark: a line a size and bias, a column a kernel, from the rows of attention.tsv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
KERNELS = {
    "nn.MultiheadAttention": ("mha", "-"),
    "ours `torch`": ("torch", "-"),
    "`sdpa` flash": ("sdpa", "flash"),
    "`sdpa` math": ("sdpa", "math"),
    "`sdpa` mem_efficient": ("sdpa", "mem_efficient"),
    "`flex`": ("flex", "compiled"),
}
USUAL = ("N", "bias", *list(KERNELS)[:4])


def attention_lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One mapping a (nodes, bias), in the order of the rows: `nodes`, `bias` each kernel's row by `IMPL BACKEND`."""
    lines: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["nodes"], row["bias"])
        line = lines.setdefault(key, {"nodes": row["nodes"], "bias": row["bias"]})
        line[f"{row['impl']} {row['backend']}"] = row
    return list(lines.values())


def _cost(impl: str, backend: str) -> Callable[[Row], str]:
    def cell(line: Row) -> str:
        row = line.get(f"{impl} {backend}")
        if row is None or row["status"] != "ok":
            return "–"
        return f"{1000 * row['time_s']:.1f} ms, {row['peak_bytes'] / 2**20:.1f} MB"

    return cell


CELLS: dict[str, Callable[[Row], str]] = {
    "N": lambda line: str(line["nodes"]),
    "bias": lambda line: str(line["bias"]),
    **{name: _cost(*kernel) for name, kernel in KERNELS.items()},
}
