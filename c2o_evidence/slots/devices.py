"""The GPUs of this machine, by names that CUDA_VISIBLE_DEVICES takes.

They come from C2O_GPUS, else from CUDA_VISIBLE_DEVICES, else from nvidia-smi. One device must have one name, or two
jobs would get it: numbers (nvidia-smi's, by PCI bus) and shortened UUIDs become the UUID where nvidia-smi is there to
ask. All other names, MIG instances among them, stay as they are.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from c2o_evidence.errors import SlotError

OWN_LIST = "C2O_GPUS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
NVIDIA_SMI = "nvidia-smi"
QUERY = (NVIDIA_SMI, "--query-gpu=index,uuid", "--format=csv,noheader")
QUERY_SECONDS = 60
NONE_VISIBLE = ("-1", "NoDevFiles")  # CUDA sees no device from there on; the second is SLURM's word
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_SHORT = re.compile(r"[0-9]+|GPU-[0-9a-f-]{1,35}")


@dataclass(frozen=True)
class Devices:
    """Names of devices, and what listed them."""

    names: tuple[str, ...]
    source: str

    def __str__(self) -> str:
        return f"{', '.join(self.names)}; listed by {self.source}" if self.names else f"listed by {self.source}"


def ask_nvidia_smi() -> dict[str, str]:
    """UUIDs by number; empty where there is no nvidia-smi or it finds no GPU."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_query(done.stdout) if done.returncode == 0 else {}


def parse_query(text: str) -> dict[str, str]:
    """UUIDs by number from the lines `NUMBER, UUID`; other lines are passed over."""
    fields = ([part.strip() for part in line.split(",")] for line in text.splitlines())
    return {f[0]: f[1] for f in fields if len(f) == 2 and f[0].isdecimal() and _NAME.fullmatch(f[1])}


def listed(environ: Mapping[str, str]) -> Devices | None:
    """The devices that a variable lists, as written there; None where no variable does.

    Raises:
        SlotError: something in the list is no name of a device, or is listed twice.
    """
    if (text := environ.get(OWN_LIST)) is not None:
        return Devices(_names(text, OWN_LIST), OWN_LIST)
    if (text := environ.get(VISIBLE)) is None:
        return None
    return Devices(visible(text), VISIBLE)


def visible(text: str) -> tuple[str, ...]:
    """The devices in a value of CUDA_VISIBLE_DEVICES, as CUDA reads it: up to the first that cannot be.

    Raises:
        SlotError: as `listed`.
    """
    names = [name.strip() for name in text.split(",")]
    end = next((i for i, name in enumerate(names) if name in NONE_VISIBLE), len(names))
    return _names(",".join(names[:end]), VISIBLE)


def machine_devices(environ: Mapping[str, str], ask: Callable[[], Mapping[str, str]] = ask_nvidia_smi) -> Devices:
    """The devices that jobs of this machine may have.

    Args:
        environ: where C2O_GPUS and CUDA_VISIBLE_DEVICES are looked up.
        ask: gives UUIDs by number, empty where nobody knows them; only called where needed.

    Raises:
        SlotError: as `listed`, or nvidia-smi does not know a number.
    """
    found = listed(environ)
    if found is None:
        return Devices(tuple(ask().values()), NVIDIA_SMI)
    if not any(_SHORT.fullmatch(name) for name in found.names):
        return found
    known = ask()
    names = tuple(_resolved(name, known, found.source) for name in found.names)
    _refuse_twice(names, found.source)
    return Devices(names, found.source)


def device_count(environ: Mapping[str, str], ask: Callable[[], Mapping[str, str]] = ask_nvidia_smi) -> int:
    """How many devices there are: as `machine_devices`, but nvidia-smi is not called where a variable lists them.

    Raises:
        SlotError: as `listed`.
    """
    found = listed(environ)
    return len(ask() if found is None else found.names)


def _names(text: str, source: str) -> tuple[str, ...]:
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    for name in names:
        if not _NAME.fullmatch(name):
            raise SlotError(
                f"{source}: {name[:80]!r} is no name of a device; write numbers or UUIDs, separated by commas"
            )
    _refuse_twice(names, source)
    return names


def _refuse_twice(names: tuple[str, ...], source: str) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SlotError(f"{source}: {', '.join(twice)} is listed twice; list each device once")


def _resolved(name: str, known: Mapping[str, str], source: str) -> str:
    """The UUID that a number or the beginning of a UUID stands for; the name itself where nobody can say."""
    if not known or not _SHORT.fullmatch(name):
        return name
    if name.isdecimal():
        if name not in known:
            raise SlotError(f"{source}: {name}: nvidia-smi knows no GPU of that number; it has {', '.join(known)}")
        return known[name]
    begun = [uuid for uuid in known.values() if uuid.startswith(name)]
    return begun[0] if len(begun) == 1 else name
