"""`c2o predict` and `c2o watch`: a checkpoint on pictures of one's own. The model runs in its own process."""

from c2o_evidence.predict.command import predict, watch

__all__ = ["predict", "watch"]
