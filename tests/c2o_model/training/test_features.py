"""The feature cache: the same losses as without it, shared between jobs, and never trusted unchecked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from c2o_model.data.loader import image_batches
from c2o_model.training import features as module
from c2o_model.training.features import FeatureCache, cached_features

FROZEN = {"SOLVER.BACKBONE_MULTIPLIER": 0.0}


def test_its_pyramids_are_the_backbones(make_detector: Any, tiny_split: Any) -> None:
    detector = make_detector(FROZEN)
    cache = cached_features(detector, tiny_split, 10)
    assert cache is not None
    ids = [tiny_split.image_ids[i] for i in (7, 0, 7, 11)]
    images = torch.cat([b.images for b in image_batches(tiny_split, 1)])[[7, 0, 7, 11]]
    for found, expected in zip(cache(ids), detector.features(images), strict=True):
        assert found.shape == expected.shape and not found.requires_grad
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(KeyError):
        cache([999])


def test_training_with_it_is_training_without(run_training: Any, trained: Path, tmp_path: Path) -> None:
    """Losses agree to 1e-6 as long as rounding has not been amplified; the limit in MB switches it off."""
    values = {**FROZEN, "SOLVER.MAX_ITER": 20, "SOLVER.BASE_LR": 1e-5}
    curves = [
        run_training(tmp_path / str(mb), {**values, "DATALOADER.FEATURE_CACHE_MB": mb}, {"init": trained})
        for mb in (1024, 0)
    ]
    for cached, plain in zip(*curves, strict=True):
        assert cached == pytest.approx(plain, rel=1e-5)


def test_it_is_only_used_where_features_cannot_change(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2o_model.training import run

    made: list[int] = []
    real = run.cached_features
    monkeypatch.setattr(run, "cached_features", lambda *a, **k: made.append(1) or real(*a, **k))
    short = {"SOLVER.MAX_ITER": 1}
    run_training(tmp_path / "a", {**FROZEN, **short})
    assert made == [1]
    run_training(tmp_path / "b", {**FROZEN, **short, "INPUT.SHIFT": 2})
    run_training(tmp_path / "c", {**FROZEN, **short, "INPUT.RANDOM_FLIP": "horizontal"})
    run_training(tmp_path / "d", short)
    assert made == [1]


def test_too_large_or_ragged_sets_are_not_cached(make_detector: Any, tiny_split: Any) -> None:
    detector = make_detector(FROZEN)
    need = 12 * 4 * 16 * (16 * 16 + 8 * 8 + 4 * 4)
    assert need < 2**20 and cached_features(detector, tiny_split, 1) is not None
    assert cached_features(detector, tiny_split, 0) is None
    sizes = tiny_split.sizes.copy()
    sizes[3, 0] += 1
    assert cached_features(detector, replace(tiny_split, sizes=sizes), 1024) is None


def test_jobs_share_it_on_disk(
    make_detector: Any, tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = make_detector(FROZEN)
    first = cached_features(detector, tiny_split, 10, tmp_path, "code")
    assert first is not None and len(list(tmp_path.glob("*.safetensors"))) == 1
    computed: list[int] = []
    real = module.compute_pyramids
    monkeypatch.setattr(module, "compute_pyramids", lambda *a: computed.append(1) or real(*a))
    second = cached_features(detector, tiny_split, 10, tmp_path, "code")
    assert second is not None and not computed
    ids = list(tiny_split.image_ids)
    assert all(torch.equal(a, b) for a, b in zip(first(ids), second(ids), strict=True))
    for number, (d, split, code) in enumerate((
        (make_detector(FROZEN, seed=5), tiny_split, "code"),  # other weights
        (detector, tiny_split, "other"),
        (detector, tiny_split.select([0, 1]), "code"),
        (make_detector({**FROZEN, "MODEL.PIXEL_STD": [1.0, 2.0, 3.0]}), tiny_split, "code"),
    )):  # fmt: skip
        assert cached_features(d, split, 10, tmp_path, code) is not None and len(computed) == number + 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_a_changed_image_or_cache_file_is_not_served(
    make_detector: Any, tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = make_detector(FROZEN)
    first = cached_features(detector, tiny_split, 10, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    again = cached_features(detector, tiny_split, 10, tmp_path)
    assert isinstance(first, FeatureCache) and isinstance(again, FeatureCache)
    ids = list(tiny_split.image_ids)
    assert all(torch.equal(a, b) for a, b in zip(first(ids), again(ids), strict=True))
    assert path.read_bytes() == good
    key = module._key(detector, tiny_split, "")
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: real(p) + (b"x" if p.name == "003.png" else b""))
    assert module._key(detector, tiny_split, "") != key


def test_pyramids_of_another_instruction_set_are_not_used(
    make_detector: Any, tiny_split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = make_detector(FROZEN)
    key = module._key(detector, tiny_split, "")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert module._key(detector, tiny_split, "") != key


def test_a_full_disk_leaves_the_features_in_memory(
    make_detector: Any,
    tiny_split: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = make_detector(FROZEN)
    expected = cached_features(detector, tiny_split, 10)

    def full(path: Path, *_: Any) -> str:
        raise module.CheckpointError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(module, "save_checkpoint", full)
    found = cached_features(detector, tiny_split, 10, tmp_path)
    assert isinstance(found, FeatureCache) and isinstance(expected, FeatureCache)
    assert all(torch.equal(a, b) for a, b in zip(found.levels, expected.levels, strict=True))
    assert "No space left on device); going on with the features in memory" in capsys.readouterr().err
