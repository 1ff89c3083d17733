"""The detector: backbones, head, meta architecture, matcher and losses."""
