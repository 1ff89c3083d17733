"""The clusters, one of each kind for all tests, started when a test first asks for it."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.toy_cluster import ToyCluster, missing


def running(accounting: bool) -> Iterator[ToyCluster]:
    reason = missing(accounting)
    if reason and os.environ.get("C2O_REQUIRE_SLURM"):
        pytest.fail(f"C2O_REQUIRE_SLURM is set, but {reason}")
    if reason:
        pytest.skip(reason)
    with ToyCluster(accounting=accounting) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def started_cluster() -> Iterator[ToyCluster]:
    yield from running(accounting=False)


@pytest.fixture(scope="session")
def started_accounting_cluster() -> Iterator[ToyCluster]:
    yield from running(accounting=True)


@pytest.fixture
def cluster(started_cluster: ToyCluster) -> Iterator[ToyCluster]:
    """A cluster without accounting, idle when the test begins."""
    yield started_cluster
    started_cluster.clear()


@pytest.fixture
def accounting_cluster(started_accounting_cluster: ToyCluster) -> Iterator[ToyCluster]:
    """A cluster with slurmdbd and its own MariaDB, idle when the test begins."""
    yield started_accounting_cluster
    started_accounting_cluster.clear()
