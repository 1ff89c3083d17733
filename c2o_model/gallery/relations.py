"""Who looks at whom: the attention weights among the nodes that carry the detections of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.gallery.observe import AttentionCall, Watched
from c2o_model.graph.attention import NodeAttention
from c2o_model.graph.bias import EdgeBias
from c2o_model.sampling.detections import Detections

MOST_NODES = 40
EDGES_PER_NODE = 3


@dataclass(frozen=True)
class Scene:
    """Nodes with a detection each: boxes [n,4] xyxy network pixels, scores [n], labels [n]; edges (i, j, weight).

    weight: how much node i looks at node j, mean over the heads; i's weights over all nodes of the set, also those
    without detection, sum to 1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    edges: tuple[tuple[int, int, float], ...]


@torch.no_grad()
def attention_weights(layer: NodeAttention, call: AttentionCall) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) of a call, mean over the heads: [M,N,N], rows sum to 1.

    Computed from what the layer was given, since fused kernels never hold the weights.
    """
    q, k, _ = layer._project(call.x, call.q_pos, call.k_pos)  # [M,H,N,d]
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [M,H,N,N]
    bias = call.bias.dense() if isinstance(call.bias, EdgeBias) else call.bias
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1).mean(1)


@torch.inference_mode()
def scene(watched: Watched, layer: NodeAttention, image: int, seed: int) -> Scene | None:
    """The last step's attention among the nodes that carry detections; None where nodes do not look at each other.

    Of several restarts the first. A node with detections of several classes counts with its best. At most MOST_NODES
    nodes, the best ones, and EDGES_PER_NODE edges for each, the strongest of the scene.
    """
    last = watched.steps[-1]
    if last.attention is None:
        return None
    row = watched.sets(image, seed).start
    found = watched.detections[image][seed]
    node, chosen = carriers(found, last.boxes[row], last.scores[row], watched.whwh[image])
    node, chosen = node[:MOST_NODES], chosen[:MOST_NODES]
    weights = attention_weights(layer, last.attention)[row][node][:, node]
    weights.fill_diagonal_(0)
    count = len(node)
    best = weights.flatten().topk(min(EDGES_PER_NODE * count, count * (count - 1)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    edges = tuple((index // count, index % count, weight) for index, weight in pairs)
    return Scene(found.boxes[chosen], found.scores[chosen], found.labels[chosen], edges)


def carriers(found: Detections, boxes: Tensor, scores: Tensor, whwh: Tensor) -> tuple[Tensor, Tensor]:
    """Which node each detection comes from: (nodes [n], detections [n]), a node once, best detection first.

    Args:
        boxes, scores: [N,4] xyxy and [N,K] of one node set. Detections of earlier steps or other restarts, which an
            ensemble has too, belong to none of its nodes.
        whwh: [4].
    """
    inside = boxes.clamp(min=0).minimum(whwh)
    same = (found.boxes[:, None] == inside).all(-1) & (found.scores[:, None] == scores.T[found.labels])  # [D,N]
    nodes: dict[int, int] = {}
    for detection in same.any(1).nonzero().flatten().tolist():
        nodes.setdefault(int(same[detection].int().argmax()), detection)
    device = boxes.device
    return torch.tensor([*nodes], dtype=torch.long, device=device), torch.tensor(
        [*nodes.values()], dtype=torch.long, device=device
    )
