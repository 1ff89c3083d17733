"""The forward and reverse diffusion of boxes (Gaussian) and labels (D3PM), as pure tensor functions."""
