"""The sampler watched while it runs: what the head got and predicted at every step, and what its attention was given.

The sampler is not touched and does what it does unwatched: two hooks read the inputs of the head and of the last
attention, and the detector's :meth:`scores`, which the sampler asks once a step, after guidance, hands on its argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from c2o_model.diffusion.schedules import ddim_times
from c2o_model.graph.bias import EdgeBias
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import DynamicHead, HeadOutput
from c2o_model.sampling.detections import Candidates, Detections, select, suppress
from c2o_model.sampling.sampler import sample
from c2o_model.settings import SamplerSettings


@dataclass(frozen=True)
class AttentionCall:
    """What the attention of the last stage was given: x, q_pos, k_pos [M,N,C]; bias [M,H,N,N] or the recipe for one."""

    x: Tensor
    q_pos: Tensor | None
    k_pos: Tensor | None
    bias: Tensor | EdgeBias | None


@dataclass(frozen=True)
class StepSeen:
    """One sampling step of M node sets.

    time: t. noisy [M,N,4]: the boxes that the head got, xyxy network pixels. boxes [M,N,4] and scores [M,N,K]: the
    clean ones that it predicts, after guidance. attention: of its last stage, None under DISABLE_SELF_ATTN.
    """

    time: int
    noisy: Tensor
    boxes: Tensor
    scores: Tensor
    attention: AttentionCall | None


@dataclass
class Watched:
    """A sampling that was watched: the sampler's own detections [B][S], and its steps.

    Node sets are ordered as the sampler has them: image, eval seed, restart.
    """

    detections: list[list[Detections]]
    steps: list[StepSeen]
    nodes: int
    restarts: int
    seeds: int
    settings: SamplerSettings
    per_image: int
    whwh: Tensor

    def sets(self, image: int, seed: int) -> slice:
        """Where the node sets (one a restart) of image and seed number so-and-so are in the batch."""
        first = (image * self.seeds + seed) * self.restarts
        return slice(first, first + self.restarts)

    def frames(self, image: int, seed: int) -> list[Detections]:
        """For every step what would be detected, were it the last one: chosen, suppressed and cut off as at the end.

        With USE_ENSEMBLE that takes in the steps before, as the sampler does. The last frame is the detections.
        """
        own, last, kept, frames = self.sets(image, seed), len(self.steps) - 1, [], []
        for index, step in enumerate(self.steps):
            dropped = self.settings.sampler_compat == "diffusiondet" and index == last and last > 0
            if not (self.settings.use_ensemble and dropped):
                found = select(step.scores[own], step.boxes[own], self.nodes)
                kept = [*kept, found] if self.settings.use_ensemble else [found]
            candidates = Candidates.join(kept)
            if self.restarts > 1:
                candidates = candidates.fold(self.restarts)
            frames += suppress(candidates, self.whwh[image : image + 1], self.settings, self.per_image)
        return frames


@dataclass
class _Hooks:
    """What the hooks have seen of the step that is under way."""

    noisy: Tensor | None = None
    attention: AttentionCall | None = None
    steps: list[tuple[Tensor, Tensor, Tensor, AttentionCall | None]] = field(default_factory=list)

    def of_head(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.noisy, self.attention = args[1].clone(), None

    def of_attention(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        x, q_pos, k_pos = args[0], named.get("q_pos"), named.get("k_pos")
        self.attention = AttentionCall(x.clone(), q_pos, k_pos, named.get("bias"))

    def end_step(self, out: HeadOutput, scores: Tensor) -> None:
        assert self.noisy is not None
        self.steps.append((self.noisy, out.boxes[-1].clone(), scores.clone(), self.attention))


@torch.inference_mode()
def watch(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    image_ids: Sequence[int],
    eval_seeds: Sequence[int],
    settings: SamplerSettings,
    per_image: int,
) -> Watched:
    """:func:`c2o_model.sampling.sampler.sample`, watched; same arguments."""
    seen, head = _Hooks(), detector.head
    assert isinstance(head, DynamicHead)
    score = detector.scores

    def scores(out: HeadOutput) -> Tensor:
        found = score(out)
        seen.end_step(out, found)
        return found

    hooks = [
        head.register_forward_pre_hook(seen.of_head),
        head.head_series[-1].self_attn.register_forward_pre_hook(seen.of_attention, with_kwargs=True),
    ]
    detector.scores = scores  # type: ignore[method-assign]  # on this object alone, until the end of the sampling
    try:
        found = sample(detector, features, whwh, image_ids, eval_seeds, settings, per_image)
    finally:
        del detector.scores  # the class's own again
        for hook in hooks:
            hook.remove()
    times = [t for t, _ in ddim_times(settings.sample_step, detector.schedule.timesteps)]
    return Watched(
        detections=found,
        steps=[StepSeen(t, *step) for t, step in zip(times, seen.steps, strict=True)],
        nodes=settings.test_num_proposals or detector.settings.diffusion.num_proposals,
        restarts=settings.sample_restarts,
        seeds=len(eval_seeds),
        settings=settings,
        per_image=per_image,
        whwh=whwh,
    )
