"""C2O-GND: a graph noise diffusion detector, and the data it learns from."""
