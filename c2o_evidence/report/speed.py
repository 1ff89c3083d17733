"""Tables of what was timed: inference of each row, and the attention kernels."""

from __future__ import annotations

from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.report.source import Source
from c2o_evidence.tables import text


def timing(source: Source) -> list[dict[str, Any]]:
    """The timed rows. Raises EvidenceError if one is not of the summary."""
    by_id = {row["exp_id"]: row for row in source.summary}
    if strange := sorted({row["exp_id"] for row in source.timing} - set(by_id)):
        raise EvidenceError(f"timing: {strange[0]!r} is not a row of the summary; make the tables again")
    return [
        {
            "label": source.suite.row(row["exp_id"]).label or row["exp_id"],
            "steps": row["sample_step"],
            "ms": row["inference_s_per_img"] * 1000,
            "fps": row["inference_fps"],
            "speedup": text.speedup(by_id[row["exp_id"]]),
            "times": by_id[row["exp_id"]]["speedup"],
            "over": by_id[row["exp_id"]]["speedup_over"] or "",
            "batch": row["batch"],
            "image": f"{row['image_width']}x{row['image_height']}",
            "threads": row["threads"],
            "device": row["device"],
            "dtype": row["dtype"],
            "hardware": f"{row['hardware']} ({row['hardware_id']})",
            "evidence": source.anchor("timing", row["exp_id"]),
        }
        for row in source.timing
    ]


def attention(source: Source) -> list[dict[str, Any]]:
    """A line a kernel, bias and number of nodes; a kernel that does not run here says why."""
    return [
        {
            "kernel": row["impl"] if row["backend"] in ("-", "auto") else f"{row['impl']} {row['backend']}",
            "bias": row["bias"],
            "nodes": row["nodes"],
            "ms": 1000 * row["time_s"],
            "mib": row["peak_bytes"] / 2**20 if row["peak_bytes"] else float("nan"),
            "status": row["status"],
            "threads": row["threads"],
            "device": row["device"],
        }
        for row in source.attention
    ]
