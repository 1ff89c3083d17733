"""A training that signals stop at random moments, inside iterations, ends with the bits of one left alone."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from c2o_model.stopping import StopRequest
from c2o_model.training.run import TrainingStopped

SEED = int(os.environ.get("C2O_DRILL_SEED", "21"))


def test_signals_at_random_moments_change_no_bit(run_training: Any, tmp_path: Path) -> None:
    values = {"MODEL_EMA.ENABLED": True, "MODEL_EMA.DECAY": 0.9, "SOLVER.MAX_ITER": 40}
    whole = run_training(tmp_path / "whole", values, DROPOUT=0.1)
    chance = random.Random(SEED)
    kinds = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP]
    stops = 0

    def strike(*_: object) -> None:
        os.kill(os.getpid(), kinds[stops % len(kinds)])

    def arm() -> None:  # signals are caught from now on
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.25) if stops < len(kinds) else 0)

    old = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(len(kinds) + 1):
            try:
                with StopRequest(on_first=arm) as stop:
                    found = run_training(tmp_path, values, {"stop": stop}, DROPOUT=0.1)
                break
            except TrainingStopped:
                assert stop.reason == f"on {kinds[stops % len(kinds)].name}"
                stops += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            pytest.fail(f"seed {SEED}: no end after {stops} stops")
    finally:
        signal.signal(signal.SIGALRM, old)
    assert stops >= 2, f"seed {SEED}"
    assert found == whole
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "whole" / "m.safetensors").read_bytes()
