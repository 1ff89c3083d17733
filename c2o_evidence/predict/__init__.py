"""`c2o predict` and `c2o watch`: a checkpoint on pictures of one's own. The model runs in its own process."""

from c2o_evidence.predict.command import Asked, predict, watch

__all__ = ["Asked", "predict", "watch"]
