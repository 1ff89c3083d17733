"""The list of devices: where it comes from, and one name for one device."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import SlotError
from c2o_evidence.slots import device_count, machine_devices
from c2o_evidence.slots.devices import Devices, ask_nvidia_smi, parse_query, visible
from c2o_evidence.slots.directory import lock_name

A, B = "GPU-0a1b2c3d-0000-4000-8000-000000000000", "GPU-0a1bffff-0000-4000-8000-000000000001"
MIG = "MIG-5c89852c-d268-5c0b-9b3e-000000000000"


def two() -> dict[str, str]:
    return {"0": A, "1": B}


def nobody() -> dict[str, str]:
    raise AssertionError("nvidia-smi need not be asked")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"C2O_GPUS": f"{A},{MIG}", "CUDA_VISIBLE_DEVICES": "7"}, Devices((A, MIG), "C2O_GPUS")),
        ({"C2O_GPUS": " fake-1 , fake-0,"}, Devices(("fake-1", "fake-0"), "C2O_GPUS")),
        ({"C2O_GPUS": "", "CUDA_VISIBLE_DEVICES": "7"}, Devices((), "C2O_GPUS")),
        ({"CUDA_VISIBLE_DEVICES": B}, Devices((B,), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": ""}, Devices((), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Devices((), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": "MIG-GPU-0a1b/3/0"}, Devices(("MIG-GPU-0a1b/3/0",), "CUDA_VISIBLE_DEVICES")),
    ],
)
def test_the_first_of_the_variables_counts_and_names_stay(environ: dict[str, str], expected: Devices) -> None:
    assert machine_devices(environ, nobody) == expected
    assert device_count(environ, nobody) == len(expected.names)


def test_without_a_variable_nvidia_smi_lists_them() -> None:
    assert machine_devices({}, two) == Devices((A, B), "nvidia-smi")
    assert machine_devices({}, dict) == Devices((), "nvidia-smi")
    assert device_count({}, two) == 2


def test_a_number_and_a_uuid_of_one_device_are_one_name() -> None:
    assert machine_devices({"C2O_GPUS": "1,0"}, two).names == (B, A)
    assert machine_devices({"CUDA_VISIBLE_DEVICES": "GPU-0a1bf,0"}, two).names == (B, A)
    assert machine_devices({"C2O_GPUS": "GPU-0a1b"}, two).names == ("GPU-0a1b",), "it could be either"
    assert machine_devices({"C2O_GPUS": "0,1"}, dict).names == ("0", "1"), "nobody there to ask"
    with pytest.raises(SlotError, match=f"C2O_GPUS: {A} is listed twice; list each device once"):
        machine_devices({"C2O_GPUS": f"0,{A}"}, two)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,../1", r"C2O_GPUS: '../1' is no name of a device; write numbers or UUIDs"),
        ("0;1", "C2O_GPUS: '0;1' is no name of a device"),
        ("fake,fake", "C2O_GPUS: fake is listed twice"),
        ("2", "C2O_GPUS: 2: nvidia-smi knows no GPU of that number; it has 0, 1"),
    ],
)
def test_a_wrong_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(SlotError, match=message):
        machine_devices({"C2O_GPUS": text}, two)


def test_cuda_ends_its_list_at_minus_one() -> None:
    assert visible("0,1,-1,2") == ("0", "1")
    assert visible("-1") == ()


def test_lines_of_nvidia_smi() -> None:
    assert parse_query(f"0, {A}\n1, {B}\n") == two()
    assert parse_query("No devices were found\n") == {}


PIECES = st.sampled_from(["0", "17", ", ", ",", A, B, "GPU-", "/", "..", "\n", " ", "\x1b[2J", "MIG 1g.5gb"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_nvidia_smi_says_the_names_can_be_files(text: str) -> None:
    for number, uuid in parse_query(text).items():
        assert number.isdecimal() and uuid[0].isalnum() and "/" not in lock_name(uuid)


def test_the_program_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_nvidia_smi() == {}
    program.write_text(f'#!/bin/sh\n[ "$*" = "--query-gpu=index,uuid --format=csv,noheader" ] && echo "0, {A}"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert ask_nvidia_smi() == {"0": A}
    program.write_text(f'#!/bin/sh\necho "0, {A}"; exit 9\n')
    assert ask_nvidia_smi() == {}, "no driver"
