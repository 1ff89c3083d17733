"""Keyed random numbers: ranges, independence of keys, and values pinned to the frozen stream."""

from __future__ import annotations

import hashlib

import numpy as np

from c2o_model.data.draw import Draw


def test_stream_is_mt19937_seeded_by_the_hash_of_the_key() -> None:
    words = hashlib.sha256(b"purpose\x1f7\x1ftrain").digest()
    state = np.random.RandomState([int.from_bytes(words[i : i + 4], "little") for i in range(0, 32, 4)])
    expected = [state.randint(-5, 1001, dtype=np.int32) for _ in range(50)]
    draw = Draw("purpose", 7, "train")
    assert [draw.integer(-5, 1000) for _ in range(50)] == expected


def test_values_do_not_change_with_versions() -> None:
    draw = Draw("golden")
    assert [draw.integer(0, 999) for _ in range(5)] == [736, 185, 497, 466, 774]
    assert draw.noise(50, (2, 2)).tolist() == [[25, -7], [0, -1]]


def test_ranges_and_keys() -> None:
    draw = Draw("range", 0)
    assert {draw.integer(3, 5) for _ in range(200)} == {3, 4, 5}
    assert set(draw.integers(0, 1, (100,)).tolist()) == {0, 1}
    noise = draw.noise(9, (4000,))
    assert noise.min() >= -9 and noise.max() <= 9 and abs(noise.mean()) < 1
    assert not any(draw.percent(0) for _ in range(50)) and all(draw.percent(100) for _ in range(50))
    assert Draw("a", 1).integer(0, 2**30) != Draw("a", 2).integer(0, 2**30)
    assert Draw("a", 12).integer(0, 2**30) != Draw("a", 1, 2).integer(0, 2**30)


def test_permutation_is_one_and_depends_on_the_key() -> None:
    first, second = Draw("p", 0).permutation(500), Draw("p", 1).permutation(500)
    assert sorted(first) == sorted(second) == list(range(500)) and first != second
    assert Draw("p", 0).permutation(0) == ()
