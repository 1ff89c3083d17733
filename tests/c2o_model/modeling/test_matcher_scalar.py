"""The matcher against scalar code, one image, one object, one node at a time, in float64.

Coordinates are whole pixels, so that borders and equal costs are exact in both; copies of nodes and of objects make
ties. Where two different costs that decide something are nearer than float32 can tell, the image is skipped: few are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from c2o_model.modeling.matcher import match

Box = Sequence[float]
NEAR = 1e-4  # costs are about 10
FAR_NEAR = 1e-2  # of costs above 1e4, where a float32 has steps of 1e-3


def pair_cost(logit: float, box: Box, gt: Box, side: Box) -> tuple[float, float]:
    """(2 focal + 5 L1 - 2 GIoU, IoU) of a node and an object (DiffusionDet sec. 3.3, arXiv 1902.09630)."""
    p = 1 / (1 + math.exp(-logit))
    focal = 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8) - 0.75 * p**2 * -math.log(1 - p + 1e-8)
    l1 = sum(abs(b / s - g / s) for b, g, s in zip(box, gt, side, strict=True))
    wide = max(0.0, min(box[2], gt[2]) - max(box[0], gt[0]))
    high = max(0.0, min(box[3], gt[3]) - max(box[1], gt[1]))
    union = (box[2] - box[0]) * (box[3] - box[1]) + (gt[2] - gt[0]) * (gt[3] - gt[1]) - wide * high
    hull = (max(box[2], gt[2]) - min(box[0], gt[0])) * (max(box[3], gt[3]) - min(box[1], gt[1]))
    iou = wide * high / union
    return 2 * focal + 5 * l1 - 2 * (iou - (hull - union) / hull), iou


def places(box: Box, gt: Box) -> tuple[bool, bool]:
    """Centre of the node strictly in the object's box; in its centre region of 2.5 sizes either way."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    gx, gy = (gt[0] + gt[2]) / 2, (gt[1] + gt[3]) / 2
    return (
        gt[0] < x < gt[2] and gt[1] < y < gt[3],
        abs(x - gx) < 2.5 * (gt[2] - gt[0]) and abs(y - gy) < 2.5 * (gt[3] - gt[1]),
    )


class Reference:
    """One image; `found` is the object of each node or -1, `close` says that float32 could decide otherwise."""

    def __init__(
        self, logits: list[list[float]], boxes: list[Box], labels: list[int], gts: list[Box], side: Box
    ) -> None:
        self.close = False
        nodes, objects = range(len(boxes)), range(len(gts))
        self.found = [-1 for _ in nodes]
        if not gts:
            return
        cost: list[list[float]] = []
        iou: list[list[float]] = []
        for n in nodes:
            where = [places(boxes[n], gts[g]) for g in objects]
            lost = 1e4 * (not any(a or b for a, b in where))
            both = [pair_cost(logits[n][labels[g]], boxes[n], gts[g], side) for g in objects]
            cost.append([c + 100 * (not (a and b)) + lost for (c, _), (a, b) in zip(both, where, strict=True)])
            iou.append([i for _, i in both])
        claims: list[list[int]] = [[] for _ in nodes]
        for g in objects:
            total = sum(sorted((iou[n][g] for n in nodes), reverse=True)[:5])
            self.close |= total != round(total) and abs(total - round(total)) < NEAR
            k = max(1, int(total))
            order = sorted(nodes, key=lambda n, g=g: (cost[n][g], n))
            if k < len(boxes):
                self.decide(cost[order[k - 1]][g], [cost[order[k]][g]])
            for n in order[:k]:
                claims[n].append(g)
        for n in nodes:
            if len(claims[n]) == 1:
                self.found[n] = claims[n][0]
            elif claims[n]:
                self.found[n] = self.cheapest({g: cost[n][g] for g in objects})
        while True:
            free = [n for n in nodes if self.found[n] < 0]
            left = [g for g in objects if g not in self.found]
            if not free or not left:
                return
            bids: dict[int, dict[int, float]] = {}
            for g in left:
                n = self.cheapest({n: cost[n][g] for n in free})
                bids.setdefault(n, {})[g] = cost[n][g]
            for n, bidders in bids.items():
                self.found[n] = self.cheapest(bidders)

    def cheapest(self, costs: dict[int, float]) -> int:
        best = min(costs, key=lambda key: (costs[key], key))
        self.decide(costs[best], costs.values())
        return best

    def decide(self, best: float, others: Sequence[float] | object) -> None:
        for other in others:  # type: ignore[attr-defined]
            self.close |= best != other and abs(other - best) < (FAR_NEAR if best > 1e3 else NEAR)


def whole(g: torch.Generator, shape: tuple[int, ...], low: int, high: int) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=g).float()


def scene(g: torch.Generator, images: int, nodes: int, objects: int, classes: int) -> dict[str, torch.Tensor]:
    """Whole-pixel boxes, half of the nodes near an object; a third of nodes and objects are copies of others."""
    side = whole(g, (images, 2), 60, 200).repeat(1, 2)
    corner = whole(g, (images, objects, 2), 0, 45)
    gt = torch.cat([corner, corner + whole(g, (images, objects, 2), 3, 20)], -1)
    labels = torch.randint(classes, (images, objects), generator=g)
    corner = whole(g, (images, nodes, 2), 0, 150)
    boxes = torch.cat([corner, corner + whole(g, (images, nodes, 2), 2, 40)], -1)
    pick = torch.randint(objects, (images, nodes), generator=g)
    near = gt.gather(1, pick[..., None].expand(-1, -1, 4)) + whole(g, (images, nodes, 4), -2, 3)
    near[..., 2:] = torch.maximum(near[..., 2:], near[..., :2] + 1)
    boxes = torch.where(torch.rand(images, nodes, 1, generator=g) < 0.5, near, boxes)
    logits = torch.randn(images, nodes, classes, generator=g) * 2
    for count, tensors in ((nodes, (boxes, logits)), (objects, (gt, labels))):
        of = torch.arange(count).repeat(images, 1)
        copied = torch.rand(images, count, generator=g) < 1 / 3
        of = torch.where(copied, torch.randint(count, (images, count), generator=g), of)
        for tensor in tensors:
            rows = of if tensor.dim() == 2 else of[..., None].expand(-1, -1, tensor.shape[2])
            tensor.copy_(tensor.gather(1, rows))
    mask = torch.rand(images, objects, generator=g) < 0.8
    mask[::9] = False  # images without objects
    return {"logits": logits, "boxes": boxes, "gt_labels": labels.masked_fill(~mask, -1), "gt_boxes": gt,
            "gt_mask": mask, "image_whwh": side}  # fmt: skip


@pytest.mark.parametrize("classes", [1, 3, 4, 10, 63, 64, 255, 256])
def test_match_equals_scalar_code_on_thousands_of_images(classes: int) -> None:
    """Per class count 4 x 100 images: plenty of nodes, about as many as objects, fewer, and a single one."""
    g = torch.Generator().manual_seed(classes)
    seen = skipped = tied = short = empty = 0
    for nodes, objects in ((16, 5), (6, 6), (3, 8), (1, 4)):
        s = scene(g, 100, nodes, objects, classes)
        found = match(**s)
        for b in range(100):
            ids = s["gt_mask"][b].nonzero()[:, 0].tolist()
            logits, boxes = s["logits"][b].double().tolist(), s["boxes"][b].double().tolist()
            gts = s["gt_boxes"][b, ids].double().tolist()
            labels = s["gt_labels"][b, ids].tolist()
            reference = Reference(logits, boxes, labels, gts, s["image_whwh"][b].double().tolist())
            if reference.close:
                skipped += 1
                continue
            expected = [ids[n] if n >= 0 else -1 for n in reference.found]
            assert found.gt_index[b].tolist() == expected, (nodes, objects, b)
            for n, slot in enumerate(expected):
                true = pair_cost(0.0, boxes[n], s["gt_boxes"][b, slot].tolist(), [1.0] * 4)[1] if slot >= 0 else 0.0
                assert float(found.iou[b, n]) == pytest.approx(true, rel=1e-5, abs=1e-6)
            seen += 1
            tied += len({tuple(x) for x in boxes}) < nodes or len({tuple(x) for x in gts}) < len(gts)
            short += len(ids) > nodes
            empty += not ids
    assert seen >= 360 and skipped <= 40
    assert tied > 150 and short > 100 and empty > 30
