"""Several training sets as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2o_model.data.concat import concatenate
from c2o_model.data.errors import DataError
from c2o_model.data.images import decode
from c2o_model.data.loader import SeededBatches


@pytest.fixture
def second(tiny_split: Any, tmp_path: Path) -> Any:
    """The first five images again, from another place."""
    for name in tiny_split.file_names[:5]:
        (tmp_path / name).write_bytes((tiny_split.image_root / name).read_bytes())
    return replace(tiny_split.select(list(range(5))), annotation=tmp_path / "second.json", image_root=tmp_path)


def test_one_set_is_itself(tiny_split: Any) -> None:
    assert concatenate([tiny_split]) is tiny_split


def test_images_follow_set_by_set_and_ids_stay_unique(tiny_split: Any, second: Any, tmp_path: Path) -> None:
    joined = concatenate([tiny_split, second])
    assert len(joined) == 17 and joined.class_names == tiny_split.class_names
    # ids 7, 17, ... 117; the second set's 7 .. 47 move behind 117
    assert joined.image_ids == (*tiny_split.image_ids, 118, 128, 138, 148, 158)
    assert joined.sizes.shape == (17, 2) and len(joined.boxes) == len(joined.labels) == 17
    for index in range(5):
        assert joined.image_path(12 + index) == tmp_path / tiny_split.file_names[index]
        assert np.array_equal(joined.boxes[12 + index], tiny_split.boxes[index])
        assert torch.equal(decode(joined, 12 + index), decode(tiny_split, index))
    assert len(SeededBatches(joined, 4, 0).batch(3).image_ids) == 4


def test_ids_that_do_not_clash_stay(tiny_split: Any, second: Any) -> None:
    other = replace(second, image_ids=(1, 2, 3, 1000, 1001))
    assert concatenate([tiny_split, other]).image_ids == (*tiny_split.image_ids, 1, 2, 3, 1000, 1001)


def test_a_relative_root_is_found_from_anywhere(
    tiny_split: Any, second: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    joined = concatenate([tiny_split, replace(second, image_root=Path("."))])
    monkeypatch.chdir("/")
    assert joined.image_path(12).is_file()


def test_what_does_not_fit_is_refused(tiny_split: Any, second: Any) -> None:
    other = replace(second, class_names=("red", "blue", "green"))
    with pytest.raises(DataError, match=r"second.json.*has the classes red, blue, green; .*set.json has red, green"):
        concatenate([tiny_split, other])
    with pytest.raises(DataError, match="set.json.*is given twice"):
        concatenate([tiny_split, second, tiny_split])
