"""States (boxes, labels) that a user of the pipeline hands in, checked: to start from, or in a step's callback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusion.labels import LabelDiffusion
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.sampling.steps import Keys, NodeState, first_labels

State = tuple[Tensor, Tensor | None]
NAMES = ("boxes", "labels")


@dataclass(frozen=True)
class Start:
    """``init_state`` of a call for ``pictures`` pictures, ``each`` node sets a picture (seeds times restarts).

    Raises ValueError where its shapes do not fit these numbers or the detector.
    """

    init_state: State
    detector: DiffusionDet
    pictures: int
    each: int

    def __post_init__(self) -> None:
        if not isinstance(self.init_state, tuple | list) or len(self.init_state) != 2:
            raise ValueError("init_state: give a tuple (boxes, labels); labels may be None")
        boxes, labels = self.init_state
        allowed = sorted({self.pictures, self.pictures * self.each})
        if boxes.dim() != 3 or boxes.shape[2] != 4 or boxes.shape[0] not in allowed or not boxes.is_floating_point():
            raise ValueError(
                f"init_state: boxes are {list(boxes.shape)}; give [M,N,4] in signal space, "
                f"M = {' or '.join(map(str, allowed))} ({self.pictures} pictures, {self.each} node sets each)"
            )
        if labels is not None:
            as_labels(labels, boxes, self.detector, "init_state")

    def state_of(self, first: int, count: int, keys: Keys) -> NodeState:
        """The nodes of the pictures from ``first`` on, whose sets have these keys."""
        boxes, labels = self.init_state
        x = self._rows(boxes, first, count)
        if labels is None:
            return NodeState(x, first_labels(self.detector, keys, x.shape[1], x.device))
        return NodeState(x, as_labels(self._rows(labels, first, count), x, self.detector, "init_state"))

    def _rows(self, values: Tensor, first: int, count: int) -> Tensor:
        values = values.to(self.detector.device)
        if values.shape[0] == self.pictures * self.each:
            return values[first * self.each : (first + count) * self.each]
        return values[first : first + count].repeat_interleave(self.each, 0)


def as_labels(labels: Tensor, boxes: Tensor, detector: DiffusionDet, what: str) -> Tensor:
    """Label states [M,N,K+1] of hard ones int64 [M,N], of distributions or (Gaussian) of vectors [M,N,K+1].

    Raises:
        ValueError: the detector has no label states, or these are none for its nodes ``boxes`` [M,N,4].
    """
    process = detector.label_process
    if process is None:
        raise ValueError(f"{what}: labels: this detector has no label states (LABEL_STATE); give None")
    states, nodes = process.num_classes + 1, tuple(boxes.shape[:2])
    if isinstance(process, LabelDiffusion) and labels.dtype == torch.int64 and tuple(labels.shape) == nodes:
        if bool(((labels < 0) | (labels >= states)).any()):
            raise ValueError(f"{what}: labels: outside 0..{states - 1}; {states - 1} is unk")
        return F.one_hot(labels, states).to(boxes.dtype)
    if not labels.is_floating_point() or tuple(labels.shape) != (*nodes, states):
        hard = f"int64 {list(nodes)} or " if isinstance(process, LabelDiffusion) else ""
        raise ValueError(
            f"{what}: labels are {labels.dtype} {list(labels.shape)}; give {hard}float {[*nodes, states]}, "
            "as the label scheduler makes them"
        )
    return labels.to(boxes)


def changed_by(returned: Mapping[str, Any] | None, state: NodeState, detector: DiffusionDet) -> NodeState:
    """``state`` with what a callback has returned in its place.

    Raises:
        ValueError: it returned something else, or another shape.
    """
    what = "callback_on_step_end"
    for name in returned or {}:
        if name not in NAMES:
            raise ValueError(f"{what}: it returned {name!r}; only {' and '.join(NAMES)} can be replaced")
    boxes = (returned or {}).get("boxes")
    if boxes is not None:
        if boxes.shape != state.x.shape:
            raise ValueError(f"{what}: it returned boxes {list(boxes.shape)} for {list(state.x.shape)}")
        state = replace(state, x=boxes.to(state.x))
    labels = (returned or {}).get("labels")
    if labels is not None:
        state = replace(state, labels=as_labels(labels.to(state.x.device), state.x, detector, what))
    return state
