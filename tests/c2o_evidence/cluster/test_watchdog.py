"""When a driver is taken to stand still: by hand-made time and a hand-made queue."""

from pathlib import Path

from c2o_evidence.cluster.queue import QueuedJob
from c2o_evidence.cluster.watchdog import Watchdog
from c2o_evidence.errors import ClusterError
from c2o_evidence.snakelog import SnakemakeLog


class World:
    """A watchdog with patience for 100 s, and all that it looks at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: list[QueuedJob] = []
        self.away = self.works = self.stopped = False
        self.asked = 0
        self.log = SnakemakeLog(total=5)
        self.dog = Watchdog(
            Path("checkout"),
            100.0,
            queue=self.queue,
            works_here=lambda pid: self.works,
            is_stopped=lambda pid: self.stopped,
            clock=lambda: self.now,
        )

    def queue(self, root: Path) -> list[QueuedJob]:
        self.asked += 1
        if self.away:
            raise ClusterError("squeue: no")
        return self.jobs

    def after(self, seconds: int) -> str:
        """What the watchdog says in the end, or when it has had enough."""
        for _ in range(seconds):
            self.now += 1
            if said := self.dog.look(1, self.log):
                return said
        return ""

    def submit(self, state: str = "RUNNING") -> None:
        self.jobs = [QueuedJob("7", state, "me", "name", "Resources", "/", "")]


def test_silence_without_a_job() -> None:
    world = World()
    assert world.after(95) == ""
    assert world.after(20).startswith("no new line of its log, and SLURM has had no job of it for 1m4")
    assert world.asked <= 100 / world.dog.interval + 1, "SLURM is asked now and then, not at every look"


def test_a_line_is_progress() -> None:
    world = World()
    for _ in range(5):
        assert world.after(90) == ""
        world.log.feed("Finished jobid: 3 (Rule: train)")
    assert world.after(110) != ""


def test_jobs_that_run_or_wait_are_waited_for() -> None:
    for state in ("RUNNING", "PENDING", "COMPLETING"):
        world = World()
        world.submit(state)
        assert world.after(5000) == ""
        world.jobs = []
        assert world.after(95) == "", "the driver learns of their end in its own time"
        assert world.after(20) != ""


def test_the_line_for_the_view() -> None:
    world = World()
    world.submit("PENDING")
    world.after(10)
    assert world.dog.queue_line == "SLURM: 1 waiting (Resources)"
    world.away = True
    world.after(10)
    assert world.dog.queue_line == "SLURM does not answer"


def test_planning_and_local_jobs_and_an_outage_are_no_standstill() -> None:
    for name in ("plans", "works", "away"):
        world = World()
        if name == "plans":
            world.log.total = 0
        else:
            setattr(world, name, True)
        assert world.after(5000) == "", name


def test_a_stopped_driver_is_one_even_if_it_plans_or_has_local_jobs_but_not_while_slurm_works_for_it() -> None:
    world = World()
    world.stopped = world.works = True
    world.log.total = 0
    world.submit()
    assert world.after(500) == ""
    world.jobs = []
    assert world.after(110).startswith("the process is stopped, and SLURM has had no job of it for 1m4")
