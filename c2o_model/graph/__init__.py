"""The graph of nodes: what an edge knows of geometry, and the attention kernels that use it."""
