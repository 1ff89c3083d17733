"""What the benchmarks share: scenes, a detector of the digits configuration, and fair timing of two contenders.

The contenders take turns in one process on one thread, so that a slow minute of a shared machine hits both alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.determinism import pin_environment

pin_environment()  # as every entry point does, before torch is imported

import torch  # noqa: E402
import yaml  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from c2o_model.config import load_config  # noqa: E402
from c2o_model.data.coco import CocoSplit, load_manifest_split  # noqa: E402
from c2o_model.data.digits import generate  # noqa: E402
from c2o_model.determinism import set_deterministic  # noqa: E402
from c2o_model.modeling.detector import DiffusionDet  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
D = "MODEL.DiffusionDet."


def scenes(split: str) -> CocoSplit:
    """A split of the small embedded set, generated into a directory that goes when the process ends."""
    set_deterministic()
    directory = tempfile.TemporaryDirectory(prefix="c2o-benchmark-")
    _KEPT.append(directory)
    config = yaml.safe_load((ROOT / "configs/data/digits_mini.yaml").read_text(encoding="utf-8"))
    generate(config, Path(directory.name) / "digits_mini")
    return load_manifest_split(Path(directory.name) / "digits_mini", split)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def detector(config: str, roi_align: str, *opts: Any) -> DiffusionDet:
    """The model of configs/models/digits/CONFIG.yaml with fixed initial weights."""
    cfg = load_config(ROOT / f"configs/models/digits/{config}.yaml", [D + "ROI_ALIGN_IMPL", roi_align, *opts])
    torch.manual_seed(0)
    model = build_model(cfg)
    assert isinstance(model, DiffusionDet)
    return model


@dataclass(frozen=True)
class Comparison:
    """Seconds of two contenders, pair by pair."""

    ours: list[float]
    plain: list[float]

    @property
    def ratio(self) -> str:
        """The median of the second contender over that of the first, with the quartiles of the paired ratios."""
        low, _, high = _quartiles([p / o for o, p in zip(self.ours, self.plain, strict=True)])
        ratio = statistics.median(self.plain) / statistics.median(self.ours)
        return f"{ratio:.2f}x ({low:.2f}..{high:.2f})"

    def row(self, name: str) -> str:
        """Medians with quartiles, and the ratio."""
        return f"{name:40} {_spread(self.ours)} {_spread(self.plain)} {self.ratio:>21} {len(self.ours):4}"


HEADER = f"{'case':40} {'ours ms (quartiles)':>24} {'straightforward ms':>24} {'ratio of medians':>20} {'n':>5}"


def compare(ours: Callable[[], Any], plain: Callable[[], Any], repeats: int, warmup: int = 2) -> Comparison:
    """Time both in turns, the first of a pair changing from pair to pair."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for attempt in range(-warmup, repeats):
        for which in (0, 1) if attempt % 2 else (1, 0):
            started = time.perf_counter()
            (ours, plain)[which]()
            if attempt >= 0:
                seconds[which].append(time.perf_counter() - started)
    return Comparison(*seconds)


def _quartiles(values: list[float]) -> list[float]:
    """All the same where there is one value."""
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


def _spread(values: list[float]) -> str:
    low, middle, high = (v * 1e3 for v in _quartiles(values))
    return f"{middle:9.1f} ({low:.1f}..{high:.1f})".rjust(24)
