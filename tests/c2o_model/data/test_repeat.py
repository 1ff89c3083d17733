"""Images of rare classes, repeated: factors by hand, expectation of the copies, and the name that asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_model.data.coco import CocoSplit
from c2o_model.data.errors import DataError
from c2o_model.data.registration import named_split
from c2o_model.data.repeat import parse_name, repeat_factors, repeat_rare
from tests import fabricated_sets


def split_of(labels: list[list[int]], classes: int = 3) -> CocoSplit:
    count = len(labels)
    return CocoSplit(
        Path("a.json"), Path("."), tuple(range(100, 100 + count)), tuple(f"{i}.jpg" for i in range(count)),
        np.full((count, 2), 50), tuple(np.zeros((len(own), 4), np.float32) for own in labels),
        tuple(np.array(own, np.int64) for own in labels), tuple(map(str, range(classes))), tuple(range(classes)), (),
    )  # fmt: skip


def test_factors_by_hand() -> None:
    """Class 0 in 3 of 4 images, 1 in 1 of 4, 2 in none: with t = 1 their factors are sqrt(4/3) and 2."""
    split = split_of([[0, 0], [0, 1], [], [0]])
    assert repeat_factors(split, 1.0) == pytest.approx([np.sqrt(4 / 3), 2, 1, np.sqrt(4 / 3)])
    assert repeat_factors(split, 0.2) == pytest.approx([1, 1, 1, 1])


def test_a_fraction_is_made_of_copies_by_draw() -> None:
    """2,000 images of factor sqrt(2) (each class in half of them, t = 1): the copies come to that on average."""
    split = split_of([[i % 2] for i in range(2000)])
    repeated = repeat_rare(split, 1.0)
    counts = np.unique(repeated.image_ids, return_counts=True)[1]
    assert set(counts) == {1, 2} and len(counts) == 2000
    # Binomial: the standard deviation of the mean is sqrt(0.414 x 0.586 / 2000) = 0.011.
    assert len(repeated) / 2000 == pytest.approx(np.sqrt(2), abs=0.044)
    assert repeat_rare(split, 1.0).image_ids == repeated.image_ids


@given(st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=1, max_size=12), st.floats(0.01, 1))
def test_nothing_is_lost_and_copies_stand_together(labels: list[list[int]], threshold: float) -> None:
    split = split_of(labels)
    repeated, factors = repeat_rare(split, threshold), repeat_factors(split, threshold)
    assert list(repeated.image_ids) == sorted(repeated.image_ids) and set(repeated.image_ids) == set(split.image_ids)
    for index, key in enumerate(split.image_ids):
        assert int(factors[index]) <= repeated.image_ids.count(key) <= np.ceil(factors[index])
    assert [list(own) for own in repeated.labels] == [labels[key - 100] for key in repeated.image_ids]


def test_by_name(tmp_path: Path) -> None:
    root = fabricated_sets.lvis(tmp_path / "datasets")
    environ = {"DETECTRON2_DATASETS": str(root)}
    plain = named_split("lvis_v1_train", environ, converted=tmp_path)
    # 3 images; each class is in one of them: with t = 1 each factor is sqrt(3).
    assert repeat_factors(plain, 1.0) == pytest.approx([np.sqrt(3)] * 3)
    repeated = named_split("lvis_v1_train@repeat=1", environ, converted=tmp_path)
    assert set(repeated.image_ids) == set(plain.image_ids) and 3 <= len(repeated) <= 6
    assert named_split("lvis_v1_train@repeat=0.001", environ, converted=tmp_path).image_ids == plain.image_ids


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1.5", "nan", "inf"])
def test_thresholds_that_are_none(text: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_name(f"lvis_v1_train@repeat={text}")
    assert str(caught.value) == (
        f"lvis_v1_train@repeat={text}: {text!r} is no share of images above 0; write it as lvis_v1_train@repeat=0.001"
    )
