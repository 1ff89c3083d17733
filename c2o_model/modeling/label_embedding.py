"""LABEL_STATE: the label of a node as a vector, added to its feature through a zero-initialised projection.

With RELATIVE_TO_UNK the vector is measured from the embedding of "unknown", so nodes that know nothing are an exact
no-op. Called by :mod:`c2o_model.modeling.head`. Source: model.md, "Hybrid".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LabelEmbedding(nn.Module):
    """Distribution over {0..K-1, unk=K} -> node feature offset, zero at initialisation."""

    def __init__(self, num_classes: int, dim: int, relative_to_unk: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes + 1, dim)
        self.projection = nn.Linear(dim, dim, bias=not relative_to_unk)
        self.relative_to_unk = relative_to_unk
        self.reset_projection()

    def reset_projection(self) -> None:
        """Zero the projection: called again after the head's Xavier initialisation."""
        nn.init.zeros_(self.projection.weight)
        if self.projection.bias is not None:
            nn.init.zeros_(self.projection.bias)

    def forward(self, state: Tensor | None) -> Tensor:
        """[M,N,K+1] probabilities (one-hot for hard states) -> [M,N,C]; None, all unknown -> [1,1,C]."""
        table = self.embedding.weight
        if state is None:
            unknown = torch.tensor(len(table) - 1, device=table.device)
            state = F.one_hot(unknown, len(table)).to(table.dtype)[None, None]
        if self.relative_to_unk:
            table = table - table[-1:]
        return self.projection(state @ table)
