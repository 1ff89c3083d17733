"""Taking devices: all that a job needs or none, first come first served, held until the job and its children end.

A job first gets in line: it locks the *gate* of every device that it may have, in the order of their names, so that two
jobs never wait for each other. Who has the gates collects devices as they become free, then opens the gates. So a job
that needs four is not overtaken by jobs that need one, and who may have other devices only does not wait for it. The
kernel queues those who wait at a gate, and frees gates and devices of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from c2o_evidence.errors import SlotError
from c2o_evidence.slots.children import keep_in_spawned, stop_keeping
from c2o_evidence.slots.devices import Devices
from c2o_evidence.slots.directory import gate_name, lock_name, open_directory, try_lock
from c2o_evidence.slots.holders import holders, is_me, write_holder

POLL_SECONDS = 0.05
UNKNOWN = "an unknown process"


@dataclass
class Lease:
    """Devices that this process holds until `release`, or its end and that of all processes it has started.

    Children made by fork or by multiprocessing share the locks; for others, `descriptors` are subprocess's `pass_fds`.
    """

    devices: tuple[str, ...]
    descriptors: tuple[int, ...] = field(repr=False)

    def release(self) -> None:
        """Give the devices back; those that a living child has are free when it ends."""
        stop_keeping(self.descriptors)
        while self.descriptors:
            *rest, last = self.descriptors
            self.descriptors = tuple(rest)
            os.close(last)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(
    count: int,
    devices: Devices,
    directory: Path,
    title: str,
    say: Callable[[str], None] = lambda text: None,
    locks: Mapping[str, str] | None = None,
) -> Lease:
    """Hold `count` of the devices, waiting until so many are free; the first that are free are taken.

    Args:
        directory: where the machine keeps its leases (`lease_directory`).
        title: what this process does, for those who wait for it.
        say: is told once, before waiting, who holds what.
        locks: names to lock by, where devices have others than those that tell them apart.

    Raises:
        SlotError: there are fewer devices than that, or the lease directory cannot be used.
    """
    refuse_too_many(count, devices)
    key = {name: (locks or {}).get(name, name) for name in devices.names}
    said = False

    def waiting() -> None:
        nonlocal said
        if not said:
            say(waiting_text(count, devices, key, directory))
        said = True

    with ExitStack() as kept, ExitStack() as gates:
        place = open_directory(directory)
        kept.callback(os.close, place)
        fcntl.flock(place, fcntl.LOCK_SH)  # systemd-tmpfiles leaves a locked directory alone, however old its files are
        for name in sorted(key.values()):
            gate = try_lock(place, gate_name(name))
            if gate is None:
                waiting()
                gate = try_lock(place, gate_name(name), wait=True)
                assert gate is not None
            gates.callback(os.close, gate)
            write_holder(gate, title)
        held: dict[str, int] = {}
        while True:
            for name in devices.names:
                if len(held) < count and name not in held:
                    descriptor = try_lock(place, lock_name(key[name]))
                    if descriptor is not None:
                        kept.callback(os.close, descriptor)
                        held[name] = descriptor
                        write_holder(descriptor, f"{title}, waiting for {count}")
            if len(held) == count:
                break
            waiting()
            time.sleep(POLL_SECONDS)
        for descriptor in held.values():
            write_holder(descriptor, title)
        kept.pop_all()  # from here on the lease closes them
    lease = Lease(tuple(name for name in devices.names if name in held), (place, *held.values()))
    keep_in_spawned(lease.descriptors)
    return lease


def refuse_too_many(count: int, devices: Devices) -> None:
    """Raise SlotError where there are fewer devices than `count`."""
    if count < 1:
        raise ValueError(f"{count} devices")
    there = len(devices.names)
    if count > there:
        has = f"has {there} ({devices})" if there else f"has none ({devices})"
        raise SlotError(
            f"needs {gpus(count)}, but this machine {has}; "
            "set MODEL.DEVICE to cpu, ask for fewer, or run where there are more"
        )


def waiting_text(count: int, devices: Devices, key: Mapping[str, str], directory: Path) -> str:
    """Who holds which of the devices, and who came first, for a job that has to wait."""
    taken = holders(directory, key.values())
    others = [name for name in devices.names if key[name] in taken and not is_me(taken[key[name]])]
    lines = [f"{name} is held by {taken[key[name]] or UNKNOWN}" for name in others]
    before = [holder for holder in holders(directory, key.values(), gate_name).values() if not is_me(holder)]
    lines += sorted({f"{holder or UNKNOWN} came first" for holder in before})
    return f"waits for {gpus(count)} of {len(devices.names)}: {'; '.join(lines) or 'one moment'}"


def gpus(count: int) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count} GPU{'' if count == 1 else 's'}"


def shown(names: Sequence[str]) -> str:
    """Devices as CUDA_VISIBLE_DEVICES has them."""
    return ",".join(names)
