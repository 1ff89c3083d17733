"""Evaluation: many seeds in one pass, timing, attention benchmark."""
