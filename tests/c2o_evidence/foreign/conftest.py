"""Results files in the layout of an older archive: per train seed with checkpoints, or eval seeds alone."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
EVAL_ONLY = ("exp_name", "sample_step", "eval_seed", *METRICS, "out_dir")
FULL = ("train_seed", "exp_name", "ckpt_path", "ckpt_sha256", "config_file", *EVAL_ONLY[1:])


def archive_rows(name: str, trains: int, evals: int, base: float = 48.0, scale: float = 1.0) -> list[dict[str, Any]]:
    """AP = base + 0.5 * train seed + 0.1 * eval seed."""
    rows = []
    for train in range(trains):
        for run in range(evals):
            ap = round((base + 0.5 * train + 0.1 * run) * scale, 6)
            row: dict[str, Any] = {"train_seed": train, "exp_name": name, "sample_step": 1, "eval_seed": run}
            row |= {
                "ckpt_path": f"/old/disk/{name}/s{train}.pth",
                "ckpt_sha256": f"{sum(map(ord, name)) % 16:x}{train}" * 32,
            }
            row |= dict.fromkeys(METRICS, ap)
            rows.append(row | {"config_file": "configs/r50.yaml", "out_dir": f"/old/out/{train}_{run}"})
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(
        name: str, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = FULL, separator: str = "\t"
    ) -> Path:
        names = list(columns)
        lines = [names, *([str(row[key]) for key in names] for row in rows)]
        path = tmp_path / name
        path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return write
