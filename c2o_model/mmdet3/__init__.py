"""The same detector in MMDetection 3: model, configurations, checkpoints (extra ``[mmdet]``, ``make mmdet``)."""
