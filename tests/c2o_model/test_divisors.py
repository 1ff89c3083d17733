"""Counts over a split batch: nothing happens where nothing is split, and parts see the sum of all parts."""

from __future__ import annotations

import pytest
import torch

from c2o_model.divisors import Ledger, installed, over_batch


def test_where_nothing_is_split_the_very_object_comes_back() -> None:
    count = torch.tensor([3.0, 0.0])
    assert over_batch(count) is count
    assert over_batch(7) == 7 and isinstance(over_batch(7), int)


def test_what_is_installed_answers_inside_the_block_only() -> None:
    with installed(lambda count: count * 10):
        assert over_batch(4) == torch.tensor(40)
        with installed(lambda count: count + 1):
            assert over_batch(4) == torch.tensor(5)
        assert over_batch(torch.tensor(0.5, requires_grad=True)).requires_grad is False
    with pytest.raises(ZeroDivisionError), installed(lambda count: count * 10):
        raise ZeroDivisionError
    assert over_batch(4) == 4


def test_a_ledger_adds_up_call_by_call() -> None:
    """Two micro-batches that count 1, [2, 5] and 30, [4, 50]: every one then divides by 31 and [6, 55]."""
    ledger = Ledger()
    for a, b in ((1, [2, 5]), (30, [4, 50])):
        ledger.rewind()
        with installed(ledger.record):
            assert over_batch(a) == a and over_batch(torch.tensor(b)).tolist() == b
    for _ in range(2):
        ledger.rewind()
        with installed(ledger.recall):
            assert over_batch(9) == 31 and over_batch(torch.tensor([9, 9])).tolist() == [6, 55]
