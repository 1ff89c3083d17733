"""Timing: interleaved passes, medians, and what is written beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2o_model.evaluation import timing
from c2o_model.evaluation.run import EvalRow
from c2o_model.evaluation.timing import TimingCase, time_inference


def test_cases_take_turns_and_medians_are_reported(
    config: Any, checkpoint: Path, tiny_split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock of our own: a pass of `one` takes 2, 4 and 9 s, of `two` 20, 40 and 90 s, the warm-up 100 s."""
    turns: list[int] = []
    now = [0.0]
    lengths = iter([100, 100, 2, 20, 9, 90, 4, 40])
    real = timing.sample

    def slow(*args: Any) -> Any:
        turns.append(args[5].sample_step)
        if len(turns) % 3 == 0:  # the last of a pass's three batches of at most two images
            now[0] += next(lengths)
        return real(*args)

    monkeypatch.setattr(timing, "sample", slow)
    monkeypatch.setattr(timing, "_now", lambda _: now[0])
    cases = [TimingCase(EvalRow("one", 1), config, checkpoint), TimingCase(EvalRow("two", 3), config, checkpoint)]
    rows = time_inference(cases, tiny_split, images=5, batch=2, warmup=1, repeats=3)
    assert turns == [1, 1, 1, 3, 3, 3] * 4
    one, two = rows
    assert one == {
        "exp_id": "one", "sample_step": 1, "inference_s_per_img": 0.8, "inference_s_per_img_min": 2 / 5,
        "inference_s_per_img_max": 9 / 5, "inference_fps": 5 / 4, "warmup": 1, "repeats": 3, "images": 5, "batch": 2,
        "image_height": 64, "image_width": 64, "dtype": "float32", "threads": 1, "device": "cpu",
    }  # fmt: skip
    assert two["sample_step"] == 3 and two["inference_s_per_img"] == 8.0


def test_real_time_is_positive_and_more_steps_take_longer(config: Any, checkpoint: Path, tiny_split: Any) -> None:
    cases = [TimingCase(EvalRow(str(k), k), config, checkpoint) for k in (1, 20)]
    few, many = time_inference(cases, tiny_split, images=99, batch=4, warmup=1, repeats=3)
    assert few["images"] == 12  # all there are
    assert 0 < few["inference_s_per_img"] < many["inference_s_per_img"]
    assert few["inference_s_per_img_min"] <= few["inference_s_per_img"] <= few["inference_s_per_img_max"]
