"""`c2o run --on slurm` on a real cluster, with faults of the driver and of SLURM (stubs for the jobs)."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.driven import TRAINED, Driven, create
from tests.slurm.toy_cluster import ToyCluster, wait_for
from tests.workflow.conftest import Checkout


@dataclass(frozen=True)
class Outage:
    driven: Driven
    process: subprocess.Popen[bytes]
    since: float


ONCE = Counter(f"{what} {title}" for what in ("begin", "end") for title in TRAINED)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return create(tmp_path_factory.mktemp("driven") / "checkout")


@pytest.fixture(scope="module")
def locally(pristine: Checkout, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the same jobs make on this machine."""
    checkout = pristine.copy(tmp_path_factory.mktemp("local") / "checkout")
    checkout.build("deliverables/short", "--until", "train")
    return results(checkout)


@pytest.fixture
def driven(pristine: Checkout, cluster: ToyCluster, tmp_path: Path) -> Driven:
    return Driven(pristine.copy(tmp_path / "checkout"), cluster)


@pytest.fixture(scope="module")
def outage(
    pristine: Checkout, started_accounting_cluster: ToyCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """A build whose cluster loses controller and accounting; half a minute has passed when other tests have run."""
    cluster = started_accounting_cluster
    driven = Driven(pristine.copy(tmp_path_factory.mktemp("outage") / "checkout"), cluster)
    driven.wait.touch()
    process = driven.start("--patience", "20", "--max-status-checks-per-second", "1")
    try:
        driven.began(2)
        since = time.monotonic()
        cluster.accounting_stop()
        cluster.controller_stop()
        driven.wait.unlink()  # the jobs end while nobody is there to be told
        yield Outage(driven, process, since)
    finally:
        if process.poll() is None:
            driven.kill(process)
        cluster.clear()


def results(checkout: Checkout) -> dict[str, bytes]:
    return checkout.files("results/short/train")


@pytest.mark.usefixtures("outage")
def test_a_driver_that_stands_still_is_restarted_once_its_jobs_have_ended(
    driven: Driven, locally: dict[str, bytes]
) -> None:
    driven.wait.touch()
    process = driven.start("--patience", "3")
    driven.began(2)
    os.kill(driven.snakemake_of(process), signal.SIGSTOP)
    time.sleep(4)
    assert "restart" not in driven.said, "its jobs run: nothing is lost by waiting"
    driven.wait.unlink()
    driven.told("the driver made no progress (the process is stopped, and SLURM has had no job of it for ")
    driven.told("): restart 1 of 3")
    assert driven.ended(process) == 0, driven.said
    assert Counter(driven.writers) == ONCE
    assert results(driven.checkout) == locally


def test_drivers_killed_with_their_jobs_running(driven: Driven, locally: dict[str, bytes]) -> None:
    driven.wait.touch()
    first = driven.start()
    driven.began(2)

    beside = driven.call("c2o_evidence.cli", "run", "short", "--on", "slurm")
    assert beside.returncode == 2
    assert f"c2o run: another run (process {first.pid}) is working in this directory" in beside.stdout

    driven.kill(first)
    orphans = sorted(driven.cluster.jobs())
    assert list(driven.cluster.jobs().values()) == ["RUNNING", "RUNNING"]

    plain = driven.call("snakemake", "deliverables/short", "--workflow-profile", "profiles/slurm", "--until", "train")
    assert plain.returncode == 1 and sorted(driven.cluster.jobs()) == orphans
    assert f"2 SLURM jobs ({', '.join(orphans)}) of an earlier run in this directory: still in" in plain.stdout
    assert f"or cancel them: scancel {' '.join(orphans)}" in plain.stdout

    second = driven.start()
    driven.told(f"cancelling 2 SLURM jobs ({', '.join(orphans)}) of an earlier run")
    driven.began(4)
    assert not set(driven.cluster.jobs()) & set(orphans), "they had gone before the new ones began"

    driven.kill(second)
    third = driven.start("--orphans", "wait")
    driven.told("waiting for 2 SLURM jobs")
    driven.wait.unlink()
    assert driven.ended(third) == 0, driven.said
    # What the cancelled ones had begun was begun again; what those that were waited for made was taken as it is.
    assert Counter(driven.writers) == ONCE + Counter(f"begin {title}" for title in TRAINED)
    assert results(driven.checkout) == locally
    assert not (driven.path / ".snakemake/c2o.slurm").exists(), "nothing is left to look for"


def test_an_interrupt_cancels_the_jobs(driven: Driven) -> None:
    driven.wait.touch()
    process = driven.start()
    driven.began(2)
    process.send_signal(signal.SIGINT)
    assert driven.ended(process) == 130, driven.said
    assert "stopped, its SLURM jobs are cancelled, after " in driven.said
    assert "`c2o run short --on slurm` resumes" in driven.said and "Traceback" not in driven.said
    assert not driven.cluster.jobs()


def test_the_controller_and_the_accounting_away_for_half_a_minute(outage: Outage, locally: dict[str, bytes]) -> None:
    driven, cluster = outage.driven, outage.driven.cluster
    wait_for(lambda: len(driven.writers) == 4, 60, lambda: f"{driven.writers}")
    time.sleep(max(0.0, outage.since + 30 - time.monotonic()))
    assert outage.process.poll() is None and "SLURM does not answer" in driven.said
    cluster.controller_start()
    cluster.accounting_start()
    assert driven.ended(outage.process) == 0, driven.said
    assert "restart" not in driven.said
    assert Counter(driven.writers) == ONCE
    assert results(driven.checkout) == locally
