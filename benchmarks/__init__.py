"""What is timed against what: each file holds, or sets beside ours, the straightforward implementation."""
