"""The hardware fingerprint: what must be equal for two timings to be compared without a word."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from c2o_evidence.digests import json_digest

ISA_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "asimd",
    "sve",
)
PIN_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_CBWR",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "PYTHONHASHSEED",
    "CUBLAS_WORKSPACE_CONFIG",
)
PACKAGES = ("torch", "torchvision", "numpy")


def fingerprint() -> dict[str, Any]:
    """Describe this machine and process without importing torch.

    Returns:
        cpu (model name), cores (processors this process may use), physical_cores (distinct cores among
        them; equal to `cores` where the system does not say), isa (flags of ISA_FLAGS the processor has),
        memory_bytes, platform (kernel family and architecture), python, packages (installed versions of
        PACKAGES, None where absent), pins (PIN_VARIABLES as set, None where not) and id (see
        `fingerprint_id`). No host name, path or time.
    """
    info = _cpuinfo()
    cores = sorted(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "cpu": info.get("model name") or info.get("Model") or platform.processor() or platform.machine(),
        "cores": len(cores),
        "physical_cores": _physical_cores(cores),
        "isa": [flag for flag in ISA_FLAGS if flag in (info.get("flags") or info.get("Features") or "").split()],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": f"{platform.system()}-{platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "pins": {name: os.environ.get(name) for name in PIN_VARIABLES},
    }
    result["id"] = fingerprint_id(result)
    return result


def fingerprint_id(values: dict[str, Any]) -> str:
    """Twelve hexadecimal digits over all of a fingerprint but its id and the exact amount of memory.

    Memory is counted in whole GiB: a kernel update moves the byte count, not the speed.
    """
    core = {key: value for key, value in values.items() if key not in ("id", "memory_bytes")}
    return json_digest({**core, "memory_gib": round(values["memory_bytes"] / 2**30)})[:12]


def _cpuinfo() -> dict[str, str]:
    """First block of /proc/cpuinfo as a mapping; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): " ".join(value.split()) for key, value in pairs}


def _physical_cores(processors: list[int]) -> int:
    """Distinct sets of sibling threads among the processors."""
    siblings = set()
    for number in processors:
        path = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            siblings.add(re.sub(r"\s", "", path.read_text(encoding="ascii")))
        except OSError:
            return len(processors)
    return len(siblings)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
