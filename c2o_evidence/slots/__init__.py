"""GPU slots: which jobs of this machine have which devices. A job holds its devices until it, and all it started, ends.

`machine_devices` lists the devices, `acquire` takes some of them for this process, `assign` does that for a job of the
workflow and sets CUDA_VISIBLE_DEVICES, `holders` says who has what. Nothing here loads torch.
"""

from c2o_evidence.slots.assign import Assignment, assign
from c2o_evidence.slots.devices import Devices, device_count, machine_devices
from c2o_evidence.slots.directory import lease_directory
from c2o_evidence.slots.holders import Holder, holders
from c2o_evidence.slots.lease import Lease, acquire
from c2o_evidence.slots.needs import devices_needed, devices_of_gres

__all__ = [
    "Assignment",
    "Devices",
    "Holder",
    "Lease",
    "acquire",
    "assign",
    "device_count",
    "devices_needed",
    "devices_of_gres",
    "holders",
    "lease_directory",
    "machine_devices",
]
