"""The GPUs that jobs of this machine may have, and who has them now."""

from collections.abc import Mapping

from c2o_evidence.doctor.report import Check
from c2o_evidence.errors import SlotError
from c2o_evidence.slots import holders, lease_directory, machine_devices

SECTION = "machine"


def gpu_checks(environ: Mapping[str, str]) -> list[Check]:
    """A line for each device: free, or held by whom; one line where there is none."""
    try:
        devices, directory = machine_devices(environ), lease_directory(environ)
    except SlotError as error:
        return [Check(SECTION, "GPU slots", False, str(error), "correct the variable, or unset it")]
    if not devices.names:
        return [Check(SECTION, "GPU slots", True, f"none ({devices})")]
    taken = holders(directory, devices.names)
    free = len(devices.names) - len(taken)
    total = f"{free} of {len(devices.names)} free, listed by {devices.source}, leases in {directory}"
    lines = [
        f"{name}: held by {taken[name] or 'an unknown process'}" if name in taken else f"{name}: free"
        for name in devices.names
    ]
    each = [Check(SECTION, f"GPU {number}", True, line) for number, line in enumerate(lines)]
    return [Check(SECTION, "GPU slots", True, total), *each]
