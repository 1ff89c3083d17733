"""How well matched nodes do, for the training curve: class accuracy and L1 of the last stage.

Kept on the device and read once a row of the curve, so training never waits for them; they only look at what the
losses have computed already. Called by the training loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.matcher import Match
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training import processes


class MatchMetrics:
    """Means over the iterations of one curve row.

    class_accuracy: share of matched nodes whose most probable class is their object's, in [0, 1].
    l1: mean over matched nodes of |box - object| summed over the four sides, sides divided by the image size: the box
    loss without its weight.
    """

    def __init__(self, state: Mapping[str, Any] | None = None, device: torch.device | str = "cpu") -> None:
        """Nothing counted, or what `state` told between two iterations."""
        self._step: Tensor | None = None  # right, apart, matched: of the parts of this iteration so far
        self._sums: Tensor | None = None
        self._iterations = 0
        if state:
            self._sums = torch.tensor(state["sums"], dtype=torch.float64, device=device)
            self._iterations = state["iterations"]

    def state(self) -> dict[str, Any]:
        """What a row has so far, for JSON (no number is rounded); {} at its begin. Waits for the device."""
        return {} if self._sums is None else {"sums": self._sums.tolist(), "iterations": self._iterations}

    @torch.no_grad()
    def add(self, out: HeadOutput, pairs: Match, batch: TrainingBatch) -> None:
        """Count a part of an iteration's batch, or all of it: what the head said, its match (stages x images, last
        stage last), the ground truth.
        """
        logits, boxes = out.logits[-1], out.boxes[-1].float()
        index = pairs.gt_index[-logits.shape[0] :]  # [B,N]
        matched = index >= 0
        if batch.labels.shape[1] == 0:
            values = torch.zeros(3, dtype=torch.float64, device=logits.device)
        else:
            slot = index.clamp(min=0)
            right = (logits.argmax(-1) == batch.labels.gather(1, slot)) & matched
            target = batch.boxes.float().gather(1, slot[..., None].expand(-1, -1, 4))
            apart = ((boxes - target) / batch.whwh[:, None]).abs().sum(-1)
            values = torch.stack([right.sum(), torch.where(matched, apart, 0.0).sum(), matched.sum()]).double()
        self._step = values if self._step is None else self._step + values

    def end_iteration(self) -> None:
        """The parts of all processes are counted; a part that was counted twice changes no mean."""
        if self._step is None:
            return
        right, apart, matched = processes.summed(self._step).unbind()
        means = torch.stack([right, apart]) / matched.clamp(min=1)
        self._sums = means if self._sums is None else self._sums + means
        self._step = None
        self._iterations += 1

    def row(self) -> dict[str, float]:
        """The means since the last row, and start anew; {} without an iteration. Waits for the device."""
        if self._sums is None:
            return {}
        accuracy, l1 = (self._sums / self._iterations).tolist()
        self._sums, self._iterations = None, 0
        return {"class_accuracy": accuracy, "l1": l1}
