"""From the head's scores to detections: best (node, class) pairs, ensemble over steps, class-wise NMS.

Called by the sampler. Source: DiffusionDet (arXiv 2211.09788), section 3.4 and algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from c2o_model.settings import SamplerSettings

FAR = 1e7  # px, beyond any image


@dataclass(frozen=True)
class Detections:
    """Detections of one image: boxes [n,4] xyxy pixels inside the image, scores [n] descending, labels [n]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Candidates:
    """Not yet suppressed detections of M node sets: boxes [M,C,4], scores [M,C], labels [M,C]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @classmethod
    def join(cls, parts: Sequence[Candidates]) -> Candidates:
        """The ensemble of several steps: all their candidates side by side."""
        return cls(
            torch.cat([p.boxes for p in parts], 1),
            torch.cat([p.scores for p in parts], 1),
            torch.cat([p.labels for p in parts], 1),
        )

    def fold(self, count: int) -> Candidates:
        """``count`` neighbouring sets become one: [M,C] -> [M/count, count*C]."""
        m = self.scores.shape[0] // count
        return Candidates(self.boxes.reshape(m, -1, 4), self.scores.reshape(m, -1), self.labels.reshape(m, -1))


def select(scores: Tensor, boxes: Tensor, keep: int) -> Candidates:
    """The ``keep`` best (node, class) pairs of each set. scores [M,N,K], boxes [M,N,4]."""
    classes = scores.shape[-1]
    best, index = scores.flatten(1).topk(min(keep, scores[0].numel()), dim=1)
    node = index // classes
    return Candidates(boxes.gather(1, node[..., None].expand(-1, -1, 4)), best, index % classes)


def suppress(candidates: Candidates, whwh: Tensor, settings: SamplerSettings, per_image: int) -> list[Detections]:
    """Class-wise NMS, clip to the image, drop empty boxes, keep the ``per_image`` best. One result a set.

    NMS sees boxes before they are clipped, as in DiffusionDet. Its kernel keeps classes apart by offsets as large as
    the largest box and takes coordinates for positive: hence the shift, and float64, or one wild box would cost all
    others their precision. Set by set: batching NMS over sets shifts boxes by offsets that depend on the batch, and
    so would the result.
    """
    clipped = candidates.boxes.clamp(min=0).minimum(whwh[:, None])
    wide = (clipped[..., 2:] - clipped[..., :2] > 0).all(-1)
    whole = candidates.boxes.double().clamp(-FAR, FAR) + FAR
    results = []
    for i, (scores, labels) in enumerate(zip(candidates.scores, candidates.labels, strict=True)):
        if settings.use_nms:
            order = batched_nms(whole[i], scores.double(), labels, settings.nms_thresh)
        else:
            order = scores.argsort(descending=True, stable=True)
        order = order[wide[i][order]][:per_image]
        results.append(Detections(clipped[i][order], scores[order], labels[order]))
    return results
