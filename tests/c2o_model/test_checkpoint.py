"""Checkpoints: equal bytes for equal content, and nothing loads that was changed, cut, hostile or of another shape."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from c2o_model import checkpoint
from c2o_model.checkpoint import (
    SCHEDULE_BUFFERS,
    CheckpointError,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    verify_digest,
    write_file,
)
from c2o_model.diffusion.schedules import diffusion_buffers

STATE = {"b.weight": torch.arange(6.0).view(2, 3), "a": torch.tensor(7), "c": torch.ones(5, dtype=torch.uint8)}
META = {"recipe": "r", "train_seed": "0", "x": "é\n", **{f"k{i}": str(i) for i in range(9)}}

BUILD = """
import sys, torch
from pathlib import Path
from c2o_model.checkpoint import save_checkpoint
names = ["b.weight", "a", "c", *(f"n{i}" for i in range(30))]
if sys.argv[2] == "back":
    names = names[::-1]
state = {n: torch.full((len(n), 3), float(len(n))) for n in names}
metadata = {n: n * 2 for n in names}
print(save_checkpoint(Path(sys.argv[1]), state, metadata))
"""


def test_equal_content_gives_equal_bytes_in_every_process_and_order(tmp_path: Path) -> None:
    found = []
    for number, (hash_seed, order) in enumerate((("1", "on"), ("4242", "back"))):
        path = tmp_path / str(number) / "model.safetensors"
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        said = subprocess.run(
            [sys.executable, "-c", BUILD, str(path), order], env=env, check=True, capture_output=True, text=True
        ).stdout.strip()
        assert said == hashlib.sha256(path.read_bytes()).hexdigest()
        found.append((path.read_bytes(), path.with_name("model.safetensors.sha256").read_bytes()))
    assert found[0] == found[1]


@pytest.mark.stack_feature("checkpoint_from_c2o", "checkpoint_to_c2o", stack="detectron2")
def test_what_is_written_is_read_by_us_and_by_the_library(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.safetensors"
    digest = save_checkpoint(path, STATE, META)
    assert path.with_name("m.safetensors.sha256").read_text() == f"{digest}  m.safetensors\n"
    assert verify_digest(path) == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    state, metadata = read_checkpoint(path)
    assert metadata == META
    for found in (state, load_file(path)):
        assert found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0  # tensors stay aligned
    assert sorted(p.name for p in path.parent.iterdir()) == ["m.safetensors", "m.safetensors.sha256"]
    subprocess.run(["sha256sum", "--check", "--quiet", "m.safetensors.sha256"], cwd=path.parent, check=True)


def test_views_and_shared_tensors_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    save_checkpoint(tmp_path / "m.safetensors", {"t": base.T, "s": base[1], "again": base}, {})
    state, _ = read_checkpoint(tmp_path / "m.safetensors")
    assert torch.equal(state["t"], base.T) and torch.equal(state["s"], base[1])


@pytest.mark.parametrize("fault", ["truncated", "flipped", "empty", "sidecar", "no sidecar", "empty sidecar", "gone"])
def test_a_changed_file_is_refused_before_it_is_read_and_left_alone(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, STATE, META)
    sidecar, data = tmp_path / "m.safetensors.sha256", path.read_bytes()
    if fault == "truncated":
        path.write_bytes(data[:-1])
    elif fault == "flipped":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "sidecar":
        sidecar.write_text("0" * 64 + "  m.safetensors\n")
    elif fault == "empty sidecar":
        sidecar.write_text("")
    else:
        (sidecar if fault == "no sidecar" else path).unlink()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(checkpoint, "safe_open", lambda *_: pytest.fail("was opened"))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    if fault in ("no sidecar", "gone"):
        missing = sidecar if fault == "no sidecar" else path
        assert message == f"{missing}: no such file; train the experiment that makes it first"
    else:
        assert message.startswith(f"{path}: sha256 is ") and "m.safetensors.sha256 says" in message
        assert "it is not loaded. Restore it, or delete it to train it again" in message
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_rubbish_with_a_right_digest_is_still_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"rubbish")
    (tmp_path / "m.safetensors.sha256").write_text(hashlib.sha256(b"rubbish").hexdigest())
    with pytest.raises(CheckpointError, match=f"^{path}: not a readable safetensors file"):
        read_checkpoint(path)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


def test_a_hostile_pth_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for number, content in enumerate(({"model": Bomb(owned)}, Bomb(owned))):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert str(caught.value).startswith(f"{path}: refused: it is not a plain state dict")
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps({"model": Bomb(owned)}))
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(tmp_path / "raw.pkl")
    assert not owned.exists()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x80\x02junk", b"PK\x03\x04" + b"\0" * 40])
def test_a_pth_that_is_no_pth(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{path}: refused"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="other.pth: no such checkpoint"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_pth_without_tensors(tmp_path: Path) -> None:
    for content in ({"model": {"epoch": 3}}, [1, 2], 5):
        torch.save(content, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match="m.pth: holds no state dict of tensors"):
            read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_released_state_dict_with_its_schedule_buffers_loads(
    tmp_path: Path, wrapped: bool, make_detector: Any
) -> None:
    source, target = make_detector(seed=1), make_detector(seed=2)
    state = {**source.state_dict(), **diffusion_buffers(1000)}
    assert len(state) == len(source.state_dict()) + 12 and diffusion_buffers(3).keys() == SCHEDULE_BUFFERS
    torch.save({"model": state, "iteration": 449999} if wrapped else state, tmp_path / "released.pth")
    load_weights(target, tmp_path / "released.pth")
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in target.state_dict().items())


def test_other_names_and_shapes_are_named(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    path = tmp_path / "m.pth"
    good = model.state_dict()

    def refusal(state: dict[str, torch.Tensor], **allowed: Any) -> str:
        torch.save(state, path)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError) as caught:
            load_weights(model, path, **allowed)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        return str(caught.value)

    end = "; is it of another model configuration?"
    assert refusal({k: v for k, v in good.items() if k != "0.bias"}) == f"{path}: lacks 0.bias{end}"
    assert refusal({"x": torch.ones(1)}) == f"{path}: lacks 0.bias, 0.weight, 1.bias and 1 more{end}"
    assert refusal({**good, "2.bias": torch.ones(1)}) == f"{path}: has unexpected 2.bias{end}"
    assert refusal({**good, "0.weight": torch.ones(3, 3)}) == f"{path}: has another shape for 0.weight{end}"
    assert "lacks 0.bias" in refusal({k: v for k, v in good.items() if k[0] == "1"}, allow_new=("1.",))


def test_allowed_differences_load_the_rest(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {"0.weight": torch.full((3, 2), 5.0), "0.bias": torch.zeros(3), "head.x": torch.ones(1),
             "1.num_batches_tracked": torch.tensor(9), "9.num_batches_tracked": torch.tensor(9)}  # fmt: skip
    torch.save(state, tmp_path / "m.pth")
    load_weights(model, tmp_path / "m.pth", allow_new=("1.",), allow_unused=("head.",))
    assert (model[0].weight == 5).all() and model[1].num_batches_tracked == 9


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
def test_a_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, STATE, META)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        real = open

        def half(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            handle = real(file, mode, *rest, **more)
            if "w" not in mode:
                return handle
            handle.write(b"half a file")
            handle.flush()
            handle.close()
            return fail()

        monkeypatch.setattr("builtins.open", half)
    elif call == "open":
        monkeypatch.setattr("builtins.open", fail)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, {"b.weight": torch.zeros(1000)}, {})
    monkeypatch.undo()
    assert str(caught.value) == (
        f"{path}: cannot be written (No space left on device); the previous file is intact; free space and run again"
    )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    verify_digest(path)


def test_a_first_write_that_fails_says_that_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written .*; nothing was written; free space"):
        write_file(tmp_path / "file" / "m.safetensors", b"x")
    full = Path("/dev/full")
    if full.exists():  # the kernel's own ENOSPC
        with pytest.raises(OSError, match="No space left"), open(full, "wb") as handle:
            handle.write(b"x")


def test_the_header_is_canonical_json(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, STATE, META)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert list(header)[0] == "__metadata__" and list(header["__metadata__"]) == sorted(META)
    offsets = [header[name]["data_offsets"] for name in list(header)[1:]]
    assert offsets == sorted(offsets) and offsets[-1][1] == len(data) - 8 - size
