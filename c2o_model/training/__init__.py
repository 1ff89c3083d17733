"""Training: draws, optimiser, EMA, distillation, resumable state, and the loop that joins them."""
