"""A run that is interrupted, or whose Snakemake dies: its trainings save their state where they are and go on there."""

import os
import shutil
import signal
import time
from collections.abc import Callable

import pytest

STATE = "results/.state/tiny/baseline/seed0"
MODEL = "results/tiny/train/baseline/seed0/model.safetensors"

pytestmark = pytest.mark.e2e


@pytest.fixture
def untrained(clean, tmp_path):
    """A build whose `baseline` of seed 0, a training of 44 iterations, is to be done again."""
    checkout = clean.copy(tmp_path / "checkout")
    for path in (STATE, "results/.state/trained", "results/tiny/train/baseline/seed0"):
        shutil.rmtree(checkout.path / path)
    return checkout


@pytest.fixture(autouse=True)
def interruptible():
    """Programs started from here can be interrupted, even where the tests run in the background of a script."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def saved(checkout) -> int:
    """The iteration of the saved state; 0 where there is none."""
    names = [path.stem for path in (checkout.path / STATE).glob("state-*.safetensors")]
    return max((int(name.removeprefix("state-")) for name in names), default=0)


def wait_for(condition: Callable[[], bool], message: Callable[[], str]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until, message()
        time.sleep(0.01)


def test_a_training_goes_on_at_the_very_iteration_where_its_run_was_interrupted(untrained, clean) -> None:
    # The interrupt of a terminal reaches all. Of a Snakemake that is killed its job hears from Linux, and outlives it.
    interrupt(untrained, 20, lambda snakemake: os.killpg(snakemake.pid, signal.SIGINT))
    interrupt(untrained, 40, lambda snakemake: (snakemake.kill(), snakemake.wait()))
    untrained.build(MODEL)
    assert (untrained.path / MODEL).read_bytes() == (clean.path / MODEL).read_bytes()


def interrupt(checkout, iteration: int, hit) -> None:
    """Hit a run while its training is in the middle of what follows the iteration."""
    snakemake = checkout.start(MODEL)

    def output() -> str:
        return (checkout.path / "output.txt").read_text()

    wait_for(lambda: saved(checkout) == iteration or snakemake.poll() is not None, output)
    trainer = int((checkout.path / STATE / "lock").read_text())
    os.kill(trainer, signal.SIGSTOP)
    assert saved(checkout) == iteration, output()
    hit(snakemake)
    os.kill(trainer, signal.SIGCONT)
    assert snakemake.wait(60) != 0
    wait_for(lambda: saved(checkout) > iteration, output)
    log = checkout.path / "logs/tiny/train/baseline/seed0.log"
    said = f"stopped as asked after iteration {saved(checkout)} of 44, the state is saved"
    wait_for(lambda: said in log.read_text(), log.read_text)
    assert not (checkout.path / MODEL).exists()
