"""What the settings of the nodes' graph ask of the head and of the losses; and which attention kernels really ran.

Called by :mod:`c2o_model.modeling.detector`; `attention_kernels` by whoever logs or records a run.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from c2o_model.graph.bias import GeoBias
from c2o_model.graph.topology import topology_loss
from c2o_model.modeling.head import DynamicHead, HeadOutput
from c2o_model.modeling.matcher import Match
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.settings import Settings


class HasHead(Protocol):
    """A detector, as far as its head goes."""

    head: DynamicHead


def attach_graph(head: DynamicHead, settings: Settings) -> DynamicHead:
    """Give a built head the bias, the edges and the kept scores that the settings ask for. Returns the head."""
    graph = settings.graph
    bias = None
    if graph.geo_bias_type != "none" or graph.geo_bias_topk:
        bias = GeoBias(
            graph.geo_bias_type,
            settings.head.nheads,
            settings.diffusion.diffusion_timesteps,
            sigma=graph.geo_bias_sigma,
            shared=graph.geo_bias_scale_mode == "shared",
            topk=graph.geo_bias_topk,
            hidden=graph.geo_bias_hidden,
            schedule=graph.geo_bias_schedule,
            threshold=graph.geo_bias_schedule_thresh,
        )
    head.attach_graph(bias, interaction=not graph.disable_self_attn, keep_scores=graph.graph_topo_loss)
    return head


def topology_losses(out: HeadOutput, match: Match, batch: TrainingBatch, settings: Settings) -> dict[str, Tensor]:
    """`loss_topo`, weighted, where GRAPH_TOPO_LOSS is on; else nothing.

    Args:
        match: of all stages, stage-major; the last B entries are the last stage's.
    """
    graph = settings.graph
    if not graph.graph_topo_loss or out.attention is None:
        return {}
    q, k, bias = out.attention
    value = topology_loss(
        q,
        k,
        bias,
        match.gt_index[-q.shape[0] :],
        batch.boxes,
        batch.mask,
        most_per_object=settings.loss.ota_k,
        iou_thresh=graph.graph_topo_iou_thresh,
        target_norm=graph.graph_topo_target_norm,
    )
    return {"loss_topo": graph.graph_topo_loss_weight * value}


def attention_kernels(detector: HasHead | nn.Module) -> tuple[str, ...]:
    """What each stage's attention ran in the last call of the head, first stage first.

    "torch", "sdpa:flash", "sdpa:math", "flex:compiled" …, with "+matrix", "+low_rank" or "+score_mod" for the form in
    which a bias or sparse graph reached it; "off" under DISABLE_SELF_ATTN; "not run" before the first call.
    """
    head = detector.head
    assert isinstance(head, DynamicHead)
    found = []
    for stage in head.head_series:
        layer = stage.self_attn
        ran = "+".join(filter(None, (layer.last_kernel, layer.last_bias))) or "not run"
        found.append(ran if stage.attends else "off")
    return tuple(found)
