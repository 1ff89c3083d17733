"""RoI features of the nodes: ROIAlignV2 over a feature pyramid, by torchvision or separated along the axes.

ROIAlign (arXiv 1703.06870) averages bilinear samples on a regular grid. Bilinear weights factor into a row and a
column part, and so does their average over a bin, so one level's result is ``Wy @ feature @ Wx^T``. On small feature
maps these dense products beat the gather of torchvision, and their backward pass, which torchvision does by
scattered additions, by much more. Where no gradient goes to the features, the at most 4 x 4 cells that a bin's two axes
touch are summed directly, which is faster still and on maps of every size (benchmarks/roi_align.py). For training on
large maps use ``torchvision``. No gradient goes to the boxes in either.

Called by :mod:`c2o_model.modeling.head`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

SAMPLING = 2  # samples a bin and axis
FAR = 1e7  # px, beyond any image
CHUNK = 32  # RoIs whose row products fit the second-level cache together


class NodePooler(nn.Module):
    """Pools a PxP window a node from the pyramid level that fits its size (FPN, eq. 1).

    Args:
        strides: stride of each level, ascending, powers of two.
        resolution: P, bins a side (7 in DiffusionDet).
        impl: ``torchvision`` | ``separable``.
        canonical_size: side in pixels of a box that belongs to ``canonical_level``.
        canonical_level: log2 of that level's stride.
    """

    def __init__(
        self, strides: Sequence[int], resolution: int, impl: str, canonical_size: float, canonical_level: int
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.resolution = resolution
        self.impl = impl
        self.canonical_size = canonical_size
        self.canonical_level = canonical_level
        self.first_level = self.strides[0].bit_length() - 1

    def forward(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Pool every box.

        Args:
            features: one [B, C, H_l, W_l] a level.
            boxes: [B, R, 4] xyxy in pixels of the padded image.

        Returns:
            [B*R, P*P, C], bins in row-major order.
        """
        with torch.no_grad():
            # torchvision crashes the process on a box that is not a number; the loss is to report it instead.
            boxes = boxes.detach().nan_to_num(0.0).clamp(-FAR, FAR)
            level = self.levels(boxes)
        pool = self._separable if self.impl == "separable" else self._torchvision
        with torch.autocast(boxes.device.type, enabled=False):
            return pool(features, boxes, level)

    def levels(self, boxes: Tensor) -> Tensor:
        """Index into ``strides`` a box, floor(level_0 + log2(sqrt(area) / size_0)), clamped; [..., 4] -> [...]."""
        area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        exact = self.canonical_level + torch.log2(area.clamp(min=0).sqrt() / self.canonical_size + 1e-8)
        return (exact.floor() - self.first_level).clamp(0, len(self.strides) - 1).long()

    def _torchvision(self, features: Sequence[Tensor], boxes: Tensor, level: Tensor) -> Tensor:
        b, r, _ = boxes.shape
        index = torch.arange(b, device=boxes.device).repeat_interleave(r)
        rois = torch.cat([index[:, None].to(boxes.dtype), boxes.reshape(-1, 4)], dim=1)  # [B*R, 5]
        flat = level.reshape(-1)
        p = self.resolution
        out = features[0].new_zeros(b * r, p * p, features[0].shape[1])
        for i, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            chosen = (flat == i).nonzero()[:, 0]
            pooled = roi_align(feature, rois[chosen], (p, p), 1.0 / stride, SAMPLING, True)
            out = out.index_put((chosen,), pooled.flatten(2).transpose(1, 2).to(out.dtype))
        return out

    def _separable(self, features: Sequence[Tensor], boxes: Tensor, level: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and any(f.requires_grad for f in features)):
            return summed_cells(boxes, level, self.strides, self.resolution, features)
        out: Tensor = SeparableRoiAlign.apply(boxes, level, self.strides, self.resolution, *features)
        return out


class SeparableRoiAlign(torch.autograd.Function):
    """ROIAlign as two matrix products, one image and level at a time.

    The product over rows is several times larger than the result; image by image it stays in the processor's cache,
    which is where the time goes on a CPU. Only the gradient to the features exists.
    """

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, level: Tensor, strides: Sequence[int], p: int, *features: Tensor) -> Tensor:
        """boxes [B,R,4], level [B,R] index into strides, features [B,C,H_l,W_l] -> [B*R, P*P, C]."""
        pieces = list(_pieces(boxes, level, strides, p, features))
        rows = [f.permute(0, 2, 3, 1).contiguous().flatten(2) for f in features]  # [B, H, W*C]
        b, r = level.shape
        c = features[0].shape[1]
        out = features[0].new_empty(b * r, p, p, c)
        for i, image, index, wy, wx in pieces:
            n, w = index.shape[0], features[i].shape[3]
            tall = (wy.flatten(0, 1) @ rows[i][image]).view(n, p, w, c)
            out[index] = wx[:, None] @ tall
        ctx.pieces, ctx.p, ctx.shapes = pieces, p, [f.shape for f in features]
        return out.view(b * r, p * p, c)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """[B*R, P*P, C] -> gradient of every feature level."""
        c = grad.shape[-1]
        grad = grad.reshape(-1, ctx.p, ctx.p, c)
        out = [grad.new_zeros(s[0], s[2], s[3] * c) for s in ctx.shapes]
        for i, image, index, wy, wx in ctx.pieces:
            tall = wx.transpose(1, 2)[:, None] @ grad[index]  # [n,P,W,C]
            out[i][image] += wy.flatten(0, 1).T @ tall.view(-1, ctx.shapes[i][3] * c)
        back = [o.view(s[0], s[2], s[3], c).permute(0, 3, 1, 2) for o, s in zip(out, ctx.shapes, strict=True)]
        return (None, None, None, None, *back)


def _pieces(
    boxes: Tensor, level: Tensor, strides: Sequence[int], p: int, features: Sequence[Tensor]
) -> Iterator[tuple[int, int, Tensor, Tensor, Tensor]]:
    """(level, image, RoI indices into B*R, Wy [n,P,H], Wx [n,P,W]) for every image and level that has RoIs."""
    b, r = level.shape
    image = torch.arange(b, device=level.device)[:, None].expand(b, r)
    order = (level * b + image).flatten().argsort(stable=True)
    counts = torch.bincount((level * b + image).flatten(), minlength=b * len(strides)).tolist()
    flat = boxes.reshape(-1, 4)
    start = 0
    for i, (stride, feature) in enumerate(zip(strides, features, strict=True)):
        own = order[start : start + sum(counts[i * b : (i + 1) * b])]
        start += len(own)
        box = flat[own]
        wy = bin_weights(box[:, 1], box[:, 3], feature.shape[2], stride, p).to(feature.dtype)
        wx = bin_weights(box[:, 0], box[:, 2], feature.shape[3], stride, p).to(feature.dtype)
        at = 0
        for number in range(b):
            count = counts[i * b + number]
            for low in range(at, at + count, CHUNK):
                high = min(low + CHUNK, at + count)
                yield i, number, own[low:high], wy[low:high], wx[low:high]
            at += count


def bin_weights(low: Tensor, high: Tensor, size: int, stride: int, bins: int) -> Tensor:
    """Averaged bilinear weights of ``bins`` bins along one axis, with ROIAlignV2's half pixel shift.

    Args:
        low, high: [...] box edges in pixels.
        size: length of the feature map along this axis.

    Returns:
        [..., bins, size]; a row sums to 1 unless samples fall more than one cell outside the map, where they count 0.
    """
    start = low / stride - 0.5
    step = (high - low) / (stride * bins)
    grid = torch.arange(bins * SAMPLING, device=low.device, dtype=low.dtype)
    x = start[..., None] + step[..., None] * ((grid + 0.5) / SAMPLING)  # [..., bins * 2]
    inside = ((x >= -1) & (x <= size)).to(x.dtype)
    x = x.clamp(0, size - 1)
    cells = torch.arange(size, device=low.device, dtype=low.dtype)
    weights = (1 - (x[..., None] - cells).abs()).clamp(min=0) * inside[..., None]
    return weights.view(*low.shape, bins, SAMPLING, size).mean(-2)


def summed_cells(boxes: Tensor, level: Tensor, strides: Sequence[int], p: int, features: Sequence[Tensor]) -> Tensor:
    """ROIAlign as weighted sums of feature vectors, all images and levels in one call. Not differentiable.

    Every bin is computed by itself, so its bits do not depend on what else is in the batch.

    Args:
        boxes: [B,R,4] xyxy in pixels; level: [B,R] index into strides; features: [B,C,H_l,W_l].

    Returns:
        [B*R, P*P, C].
    """
    b, r = level.shape
    sizes = level.new_tensor([f.shape[-2:] for f in features])  # [L,2]
    ends = (b * sizes.prod(1)).cumsum(0)
    table = torch.cat([f.permute(0, 2, 3, 1).flatten(0, 2) for f in features])  # [all cells, C]
    box, own = boxes.reshape(-1, 4), level.flatten()
    (height, width), stride = sizes[own].unbind(1), box.new_tensor(strides)[own]
    image = torch.arange(b, device=level.device).repeat_interleave(r)
    first = (ends - b * sizes.prod(1))[own] + image * height * width  # [B*R] row of each RoI's map in the table
    y, wy = _cells(box[:, 1], box[:, 3], height, stride, p)
    x, wx = _cells(box[:, 0], box[:, 2], width, stride, p)
    y = (y * width.int()[:, None, None] + first.int()[:, None, None])[:, :, None, :, None]
    rows = (y + x[:, None, :, None, :]).flatten(0, 2).flatten(1)  # [B*R*P*P, 4*4]
    weights = (wy[:, :, None, :, None] * wx[:, None, :, None, :]).flatten(0, 2).flatten(1).to(table.dtype)
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights).view(b * r, p * p, -1)


def _cells(low: Tensor, high: Tensor, size: Tensor, stride: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The cells that each bin of one axis averages: index int32 and weight, both [R, bins, 2 * SAMPLING]."""
    start = low / stride - 0.5
    step = (high - low) / (stride * bins)
    grid = torch.arange(bins * SAMPLING, device=low.device, dtype=low.dtype)
    x = start[:, None] + step[:, None] * ((grid + 0.5) / SAMPLING)  # [R, bins * 2]
    inside = ((x >= -1) & (x <= size[:, None])).to(x.dtype) / SAMPLING
    x = x.clamp(min=0).minimum((size[:, None] - 1).to(x.dtype))
    below = x.floor()
    part = x - below
    above = (below + 1).minimum((size[:, None] - 1).to(x.dtype))
    shape = (len(low), bins, 2 * SAMPLING)
    weight = torch.stack([(1 - part) * inside, part * inside], dim=-1)
    return torch.stack([below, above], dim=-1).int().view(shape), weight.view(shape)
