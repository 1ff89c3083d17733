"""The label embedding: zero at the start, linear in the state, zero for ever at "unknown" when relative to it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from c2o_model.modeling.label_embedding import LabelEmbedding


@pytest.mark.parametrize("relative", [True, False])
def test_it_starts_as_nothing_and_is_a_mean_of_embeddings(relative: bool) -> None:
    torch.manual_seed(0)
    module = LabelEmbedding(4, 6, relative)
    state = torch.rand(2, 3, 5).softmax(-1)
    assert torch.equal(module(state), torch.zeros(2, 3, 6))
    nn.init.normal_(module.projection.weight)
    if module.projection.bias is not None:
        nn.init.normal_(module.projection.bias)
    rows = [module.projection(module.embedding.weight[k] - relative * module.embedding.weight[4]) for k in range(5)]
    expected = sum(state[..., k, None] * rows[k] for k in range(5))
    torch.testing.assert_close(module(state), expected, rtol=1e-5, atol=1e-5)
    unknown = F.one_hot(torch.tensor([[4]]), 5).float()
    assert torch.equal(module(None), module(unknown))
    assert (module(None) == 0).all() == relative
    module.reset_projection()
    assert torch.equal(module(state), torch.zeros(2, 3, 6))


def test_it_learns_from_the_zero_start() -> None:
    module = LabelEmbedding(3, 4, True)
    module(torch.rand(2, 3, 4).softmax(-1)).sum().backward()
    assert module.projection.weight.grad is not None and module.projection.weight.grad.abs().sum() > 0
