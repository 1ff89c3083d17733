"""Sampling boxes from noise: noise keyed by image and seed, the DDIM loop, and detections from its steps."""
