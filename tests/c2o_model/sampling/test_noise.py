"""Noise is a pure function of (eval seed, image, restart, step)."""

from __future__ import annotations

import torch

from c2o_model.sampling.noise import START, step_noise

CPU = torch.device("cpu")


def test_a_key_has_its_noise_in_any_company() -> None:
    keys = [(seed, image, restart) for seed in (0, 1) for image in (5, 1000007) for restart in (0, 1)]
    for step in (START, 0, 19):
        together = step_noise(keys, step, 6, CPU)
        backwards = step_noise(keys[::-1], step, 6, CPU)
        for i, key in enumerate(keys):
            alone = step_noise([key], step, 6, CPU)
            for part in ("ddim", "renewal", "label"):
                assert torch.equal(getattr(alone, part)[0], getattr(together, part)[i])
                assert torch.equal(getattr(alone, part)[0], getattr(backwards, part)[-1 - i])


def test_different_keys_have_different_noise() -> None:
    keys = [(s, i, r) for s in range(3) for i in range(4) for r in range(2)]
    rows = [row for step in (START, 0, 1) for row in (step_noise(keys, step, 2, CPU).ddim.flatten(1))]
    rows += list(step_noise(keys, 0, 2, CPU).renewal.flatten(1))
    assert len({tuple(row.tolist()) for row in rows}) == len(rows) == 96


def test_distributions_and_shapes() -> None:
    noise = step_noise([(0, i, 0) for i in range(300)], 0, 20, CPU)
    assert noise.ddim.shape == noise.renewal.shape == (300, 20, 4) and noise.label.shape == (300, 20)
    for normal in (noise.ddim, noise.renewal):
        assert abs(float(normal.mean())) < 0.03 and abs(float(normal.std()) - 1) < 0.03
    assert (
        float(noise.label.min()) >= 0 and float(noise.label.max()) < 1 and abs(float(noise.label.mean()) - 0.5) < 0.03
    )
