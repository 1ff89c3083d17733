"""50 jobs at once over 4 devices, some killed while they wait and some while they work; what each did, as JSON lines.

Run as a program of its own, because it forks. Times are of the one monotonic clock of the machine; a job is written
down as killed *before* the signal is sent, so it had its devices until then at least.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from c2o_evidence.slots import Devices, acquire, lease

DEVICES = Devices(("fake-0", "fake-1", "fake-2", "fake-3"), "a test")
JOBS = 50


def write(log: int, **event: object) -> None:
    os.write(log, (json.dumps(event | {"at": time.monotonic_ns()}) + "\n").encode())


def work(number: int, count: int, directory: Path, log: int, seconds: float, dies: bool) -> None:
    held = acquire(count, DEVICES, directory, f"job {number}")
    write(log, event="has", job=number, devices=held.devices)
    time.sleep(seconds)
    if dies:
        write(log, event="killed", job=number)
        os.kill(os.getpid(), signal.SIGKILL)
    write(log, event="gives", job=number)
    held.release()


def main(directory: Path, path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lease.POLL_SECONDS = 0.005
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    running = {}
    for number in range(JOBS):
        count, seconds, dies = chance.choice((1, 1, 2, 4)), chance.uniform(0.0, 0.04), chance.random() < 0.2
        write(log, event="starts", job=number, count=count)
        pid = os.fork()
        if pid == 0:
            work(number, count, directory, log, seconds, dies)
            os._exit(0)
        running[pid] = number
    for number, pid in enumerate(chance.sample(sorted(running), 14)):
        time.sleep(0 if number < 7 else chance.uniform(0, 0.1))  # most are waiting at first
        write(log, event="killed", job=running[pid])
        os.kill(pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
    for pid in running:
        os.waitpid(pid, 0)
    write(log, event="end", job=-1)
    said: list[str] = []
    acquire(len(DEVICES.names), DEVICES, directory, "the last", said.append)
    write(log, event="all", job=JOBS, waited=bool(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
