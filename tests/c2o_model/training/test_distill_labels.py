"""Distillation of a student with Gaussian label states starts its labels from the noise that its sampler would."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import run_aligned
from c2o_model.training.distill import SamplerDistillation
from c2o_model.training.draws import draw


def test_a_student_of_one_step_is_its_own_sampler(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    keys = {"LABEL_STATE": True, "SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 1}
    student = make_detector(**keys)
    nn.init.normal_(student.head.label_embedding.projection.weight)
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000, label_states=4)
    features = [f.detach() for f in student.features(tiny_batch.images)]
    noise_keys = [(0, i, 0) for i in range(4)]
    seen = run_aligned(student, features, tiny_batch.whwh, draws.start, 1, 0.0, noise_keys)
    twin = make_detector(**keys)
    twin.load_state_dict(student.state_dict())
    losses = SamplerDistillation(twin, student).losses(tiny_batch, draws, features, noise_keys)
    # the last stage of a student that is its teacher's twin has nothing left to learn; the first stage has
    apart = (seen.boxes[0] - seen.boxes[-1]).abs() / tiny_batch.whwh[:, None]
    expected = 5 * apart.sum() / 32
    torch.testing.assert_close(losses["loss_distill_bbox"], expected.detach(), rtol=1e-4, atol=1e-5)
