"""Checking a fabricated copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from c2o_evidence.datasets.check import Options, check_set
from c2o_evidence.datasets.kinds import DataSet
from c2o_evidence.datasets.outcome import Outcome
from tests.c2o_evidence.datasets.fitted import quiet


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Outcome]:
    """Check a set below tmp_path; its facts are those of the copy as it was when `fitted` was called."""

    def check(dataset: DataSet, **options: int | None) -> Outcome:
        return check_set(dataset, tmp_path, Options(**options), quiet)  # type: ignore[arg-type]

    return check
