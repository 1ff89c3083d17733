"""Snakemake as on its command line, but for the pause between two looks at SLURM's jobs.

The plugin's pause grows by 10 s a look, up to 3 minutes: no matter for trainings of hours, but for tests of seconds.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

PAUSE_S = 2
Executor.next_seconds_between_status_checks = property(lambda self: PAUSE_S, lambda self, value: None)

if __name__ == "__main__":
    main(sys.argv[1:])
