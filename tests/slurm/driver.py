"""Snakemake as a user starts it, but its SLURM executor looks for ended jobs every second.

The plugin waits 10 s longer each time it finds none, up to 180 s, and has no option for that: right for hours of
training, too slow for tests. What it submits runs plain Snakemake.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
