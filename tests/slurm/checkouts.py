"""Checkouts of the repository (tests/workflow/conftest.py) whose jobs may run on the cluster for tests."""

import subprocess
import sys
from pathlib import Path

from tests.slurm.toy_cluster import ToyCluster
from tests.workflow.conftest import Checkout

DRIVER = Path(__file__).with_name("driver.py")


class ClusterCheckout(Checkout):
    """A checkout that knows a cluster: `run` works on this machine, `run_on_slurm` there."""

    def on(self, cluster: ToyCluster) -> "ClusterCheckout":
        self.environment |= cluster.own_environment()
        return self

    def slurm_command(self, *arguments: str, profile: str = "--workflow-profile") -> list[str]:
        return [sys.executable, str(DRIVER), profile, "profiles/slurm", *arguments]

    def run_on_slurm(
        self, *arguments: str, profile: str = "--workflow-profile", timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Snakemake with the profile for SLURM to its end; stderr is put behind stdout."""
        return self.call(*self.slurm_command(*arguments, profile=profile), timeout=timeout)
