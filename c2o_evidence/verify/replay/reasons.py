"""Why a replay may differ: what the bundle's records and those made here do not have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from c2o_evidence.records import Record

# Of the hardware fingerprint, what can move a bit of a result; cores and memory cannot where one thread is used.
HARDWARE = ("cpu", "isa", "platform")


@dataclass(frozen=True)
class Reason:
    """Something that is not the same: what, as the bundle has it, and as it is here."""

    what: str
    bundle: str
    here: str

    def __str__(self) -> str:
        return f"{self.what}: {self.bundle} in the bundle, {self.here} here"


def reasons(bundle: Record, here: Record, part: str) -> tuple[Reason, ...]:
    """What two records of one job do not have in common. `part`: whose sources `code_sha256` is of."""
    return tuple(dict.fromkeys(_differences(bundle, here, part)))


def united(groups: Iterable[Iterable[Reason]]) -> tuple[Reason, ...]:
    """Reasons of several jobs, each once, in their order."""
    return tuple(dict.fromkeys(reason for group in groups for reason in group))


def _differences(bundle: Record, here: Record, part: str) -> Iterator[Reason]:
    origin = bundle.parameters.get("taken_from")
    if origin is not None:
        # The record is of the job that took the files over: who trained them, and on what, is in another bundle.
        yield Reason("trained by", f"another suite ({origin}), on a machine that its own record names", "this replay")
    old, new = _hardware(bundle), _hardware(here)
    for key in [*HARDWARE, *(f"pins.{name}" for name in _pins(old) | _pins(new))]:
        yield from _unequal(f"hardware {key}", _value(old, key), _value(new, key))
    yield from _unequal("hardware id", bundle.host.get("hardware_id"), here.host.get("hardware_id"))
    yield from _unequal("environment lock", bundle.lock_sha256, here.lock_sha256)
    for tool in sorted({*bundle.tools, *here.tools}):
        yield from _unequal(f"version of {tool}", bundle.tools.get(tool), here.tools.get(tool))
    yield from _unequal(f"code digest ({part})", bundle.code_sha256, here.code_sha256)
    stacks = [_stacks(record) for record in (bundle, here)]
    for name in sorted({*stacks[0], *stacks[1]}):
        yield from _unequal(name, *(found.get(name) for found in stacks))
    yield from _unequal("attention kernels", bundle.parameters.get("attention"), here.parameters.get("attention"))
    for name in dict.fromkeys((*bundle.nondeterminism, *here.nondeterminism)):
        known = [name in record.nondeterminism for record in (bundle, here)]
        yield Reason(f"nondeterminism: {name}", *("yes" if there else "no" for there in known))


def _stacks(record: Record) -> dict[str, Any]:
    """What decides the rows of other stacks: their digests, and the versions that were at work."""
    said, found = record.parameters.get("stacks"), {}
    for stack, told in said.items() if isinstance(said, dict) else ():
        if isinstance(told, dict):
            found[f"sources and pins of {stack}"] = told.get("sha256")
            versions = told.get("versions")
            found |= {f"version of {k}": v for k, v in versions.items()} if isinstance(versions, dict) else {}
    return found


def _hardware(record: Record) -> Mapping[str, Any]:
    found = record.host.get("hardware")
    return found if isinstance(found, Mapping) else {}


def _pins(hardware: Mapping[str, Any]) -> dict[str, Any]:
    found = hardware.get("pins")
    return found if isinstance(found, dict) else {}


def _value(hardware: Mapping[str, Any], key: str) -> Any:
    name = key.removeprefix("pins.")
    return hardware.get(key) if name == key else _pins(hardware).get(name)


def _unequal(what: str, bundle: Any, here: Any) -> Iterator[Reason]:
    if bundle != here:
        yield Reason(what, _text(bundle), _text(here))


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
