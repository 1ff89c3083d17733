"""Processor, memory, threads, instruction set with the pins in use, device, disk."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.doctor.report import Check
from c2o_evidence.hardware import fingerprint

SECTION = "machine"
GB = 10**9
JOB_BYTES = 2 * GB  # checkpoints, resume states and detections of the main job, with room


def machine_checks(root: Path, found: Mapping[str, Any]) -> list[Check]:
    """What this machine is; `found` is the answer of the probe."""
    machine = fingerprint()
    pins = dict(found.get("pins", {}))
    threads = pins.get("OMP_NUM_THREADS", "1")
    devices = list(found.get("devices", []))
    return [
        Check(SECTION, "processor", True, f"{machine['cpu']}, {machine['cores']} usable"),
        Check(SECTION, "memory", True, f"{machine['memory_bytes'] / 2**30:.1f} GiB"),
        Check(SECTION, "device", True, "CUDA: " + ", ".join(devices) if devices else "CPU"),
        Check(
            SECTION,
            "threads",
            True,
            f"{threads} for each job, so that the bits repeat; jobs run side by side",
        ),
        instruction_check(list(machine["isa"]), pins, found.get("cpu_capability")),
        disk_check(shutil.disk_usage(root).free),
    ]


FIRST_FLAG = {"avx512": "avx512f"}  # what torch calls a set, and the processor's flag for its foundation


def instruction_check(has: list[str], pins: Mapping[str, str], in_use: str | None) -> Check:
    """Whether the processor has the instruction set that jobs are pinned to (ATEN_CPU_CAPABILITY)."""
    pinned = pins.get("ATEN_CPU_CAPABILITY", "").lower()
    detail = f"{' '.join(has) or 'none that is known'}; pinned to {pinned or 'nothing'}"
    if in_use:
        detail += f", torch uses {in_use}"
    ok = not pinned or FIRST_FLAG.get(pinned, pinned) in has
    advice = "" if ok else f"nothing to do; bits will differ from those of machines with {pinned}"
    return Check(SECTION, "instruction set", ok, detail, advice)


def disk_check(free: int) -> Check:
    """Whether the results of the main job fit."""
    ok = free >= JOB_BYTES
    advice = "" if ok else f"free {JOB_BYTES / GB:.0f} GB for checkpoints, or work in a checkout on a larger disk"
    return Check(SECTION, "disk", ok, f"{free / GB:.1f} GB free", advice, needed=True)
