"""Checkpoints: written as ``.safetensors`` with a ``.sha256`` sidecar, read back only when the digest holds.

Loading cannot execute code: ``.safetensors`` is plain tensors, and a released ``.pth`` goes through
``weights_only=True``. Equal tensors and metadata give equal bytes. Used by training, evaluation and ``train_net``.
Sources: evidence.md (words: artifact), DiffusionDet's released state dicts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from c2o_model.released import to_our_names

# Buffers that a released DiffusionDet file carries and that follow from the schedule.
SCHEDULE_BUFFERS = frozenset(
    {
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
    }
)
COUNTER = ".num_batches_tracked"  # of BatchNorm, which its frozen form does not have


class CheckpointError(RuntimeError):
    """A checkpoint that must not be used. Nothing is deleted; the message names the file and what to do."""


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is always whole: temporary name, fsync, rename. A failure leaves the old file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = "the previous file is intact" if path.exists() else "nothing was written"
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); {kept}; free space and run again"
        ) from error


def save_checkpoint(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write tensors and metadata to ``path`` and its digest to ``path.sha256``. Returns the sha256 as hex."""
    tensors = {name: state[name].detach().cpu().contiguous().clone() for name in sorted(state)}
    data = save(tensors, metadata={k: metadata[k] for k in sorted(metadata)})
    data = _canonical_header(data)
    digest = hashlib.sha256(data).hexdigest()
    write_file(path, data)
    write_file(path.with_name(path.name + ".sha256"), f"{digest}  {path.name}\n".encode())
    return digest


def _canonical_header(data: bytes) -> bytes:
    """The same file with its JSON header in sorted order: the library's metadata order follows a random hash."""
    import json

    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", None)
    ordered = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
    if metadata is not None:
        ordered = {"__metadata__": dict(sorted(metadata.items())), **ordered}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def verify_digest(path: Path) -> str:
    """The sha256 of ``path`` after comparing it with ``path.sha256``.

    Raises:
        CheckpointError: when either file is missing or the digests differ.
    """
    sidecar = path.with_name(path.name + ".sha256")
    for needed in (path, sidecar):
        if not needed.is_file():
            raise CheckpointError(f"{needed}: no such file; train the experiment that makes it first")
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    expected = sidecar.read_text(encoding="utf-8").split()[:1]
    if expected != [found]:
        said = "".join(expected) or "nothing"
        raise CheckpointError(
            f"{path}: sha256 is {found}, but {sidecar.name} says {said}: the file was changed or truncated; "
            "it is not loaded. Restore it, or delete it to train it again"
        )
    return found


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a ``.safetensors`` (digest checked) or a released ``.pth`` (weights_only)."""
    if path.suffix == ".safetensors":
        verify_digest(path)
        try:
            with safe_open(path, framework="pt") as handle:
                return {k: handle.get_tensor(k) for k in handle.keys()}, dict(handle.metadata() or {})  # noqa: SIM118  (no mapping)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on rubbish torch's unpickler raises nearly anything
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path}: refused: it is not a plain state dict that loads with weights_only=True ({why})"
        ) from error
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: holds no state dict of tensors")
    return state, {}


def load_weights(
    model: nn.Module, path: Path, *, allow_new: tuple[str, ...] = (), allow_unused: tuple[str, ...] = ()
) -> None:
    """Load ``path`` into ``model`` by name.

    Args:
        allow_new: prefixes of parameters that the file may lack (features switched on after it was trained).
        allow_unused: prefixes that the file may have and the model not (a discarded pretraining head).

    Raises:
        CheckpointError: for any other missing, unexpected or differently shaped tensor, naming the first few.
    """
    state = to_our_names(read_checkpoint(path)[0])
    own = model.state_dict()
    state = {k: v for k, v in state.items() if k in own or not (k in SCHEDULE_BUFFERS or k.endswith(COUNTER))}
    missing = sorted(k for k in own if k not in state and not k.startswith(allow_new or ("\0",)))
    unused = sorted(k for k in state if k not in own and not k.startswith(allow_unused or ("\0",)))
    shapes = sorted(k for k in state if k in own and state[k].shape != own[k].shape)
    for what, names in (("lacks", missing), ("has unexpected", unused), ("has another shape for", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(f"{path}: {what} {', '.join(names[:3])}{more}; is it of another model configuration?")
    model.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)
