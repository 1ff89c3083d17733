"""The devices of a job of the workflow: taken from the machine's, or from those that SLURM gave to its allocation."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from c2o_evidence.errors import SlotError
from c2o_evidence.slots.devices import VISIBLE, Devices, machine_devices, visible
from c2o_evidence.slots.directory import lease_directory
from c2o_evidence.slots.lease import Lease, acquire, gpus, shown

SLURM_JOB = "SLURM_JOB_ID"


@dataclass
class Assignment:
    """What a job got: a line for its log, and the lease to release at its end (None where there is none)."""

    text: str
    lease: Lease | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What holds the devices; for processes started by subprocess (`pass_fds`)."""
        return () if self.lease is None else self.lease.descriptors

    def release(self) -> None:
        if self.lease is not None:
            self.lease.release()


def assign(
    count: int, title: str, environ: MutableMapping[str, str], say: Callable[[str], None], machines: int = 1
) -> Assignment:
    """Take `count` devices for this process and put them into CUDA_VISIBLE_DEVICES; call it before torch is loaded.

    A job that needs none sees none: CUDA would take memory on a device that is another job's. On several `machines`
    of a SLURM job the devices of each are what SLURM gave there.

    Raises:
        SlotError: there are fewer than that, or SLURM gave fewer; or as `acquire`.
    """
    if count < 1:
        environ[VISIBLE] = ""
        return Assignment("no GPU")
    if job := environ.get(SLURM_JOB):
        given = Devices(visible(environ.get(VISIBLE, "")), f"SLURM for its job {job}")
        if machines > 1:
            count = max(1, len(given.names))
        if len(given.names) < count:
            raise SlotError(
                f"{title}: needs {gpus(count)}, but SLURM gave its job {job} {len(given.names) or 'none'} "
                f"({VISIBLE} is {environ.get(VISIBLE)!r}); ask for gpu={count} in the profile's resources"
            )
        if len(given.names) == count:
            return Assignment(f"{gpus(count)}, given by SLURM: {shown(given.names)}")
        # Several jobs of the workflow in one allocation. Numbers begin anew in each, so they say nothing to other ones.
        locks = {name: f"slurm-{job}-{name}" for name in given.names}
        lease = acquire(count, given, lease_directory(environ), title, say, locks)
    else:
        given = machine_devices(environ)
        try:
            lease = acquire(count, given, lease_directory(environ), title, say)
        except SlotError as error:
            raise SlotError(f"{title}: {error}") from None
    environ[VISIBLE] = shown(lease.devices)
    return Assignment(f"{gpus(count)} of {len(given.names)}: {shown(lease.devices)}; listed by {given.source}", lease)
