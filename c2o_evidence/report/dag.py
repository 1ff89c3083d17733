"""What starts from what: a suite's data, trainings and rows as a drawing, laid out in layers from left to right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from c2o_evidence.report.source import Source
from c2o_evidence.tables import text

DATA = "(data)"
LETTER, BOLD, LINE, PAD = 6.7, 7.6, 17, 10  # px: mean width of a letter at 12 px, height of a line, inner margin
GAP_X, GAP_Y, WAY = 46, 16, 10  # px between layers, between boxes, height kept for an edge that passes a layer
ASIDE = 5  # px that a teacher's edge runs below that of the start
SWEEPS = 4


@dataclass
class _Box:
    name: str
    layer: int
    lines: list[dict[str, str]] = field(default_factory=list)
    passing: bool = False  # an edge on its way through a layer
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def height(self) -> float:
        return WAY if self.passing else LINE * (1 + len(self.lines)) + PAD


def drawing(source: Source) -> dict[str, Any] | None:
    """Boxes and edges with their places in px; None for a suite that trains nothing."""
    suite = source.suite
    if not suite.rows:
        return None
    values = {row["exp_id"]: text.number(row["mean_AP"]) for row in source.summary}
    boxes = {DATA: _Box(DATA, 0)}
    wanted: list[tuple[str, str, str]] = []
    for name in suite.needed:
        spec = suite.experiments[name]
        parents = [(parent, kind) for parent, kind in ((spec.init, "init"), (spec.teacher, "teacher")) if parent]
        layer = 1 + max((boxes[parent].layer for parent, _ in parents), default=0)
        lines = [
            {
                "name": row.exp_id,
                "text": f"{row.exp_id}  {values.get(row.exp_id, text.NOTHING)}",
                "evidence": source.anchor("row", row.exp_id),
            }
            for row in suite.rows_of(name)
        ]
        boxes[name] = _Box(name, layer, lines)
        wanted += [(parent, name, kind) for parent, kind in parents] or [(DATA, name, "data")]
    edges = _with_passing(boxes, wanted)
    layers = _ordered(boxes, [(a, b) for path, _ in edges for a, b in zip(path, path[1:], strict=False)])
    width, height = _place(layers, suite.data_name)
    return {
        "width": round(width),
        "height": round(height),
        "boxes": [_shown(box, source) for box in boxes.values() if not box.passing],
        "edges": [{"d": _curve([boxes[name] for name in path], kind), "kind": kind} for path, kind in edges],
        "said": _said(source),
    }


def _with_passing(boxes: dict[str, _Box], wanted: list[tuple[str, str, str]]) -> list[tuple[list[str], str]]:
    """Edges as paths with a passing box in each layer between their ends."""
    edges = []
    for number, (parent, child, kind) in enumerate(wanted):
        path = [parent]
        for layer in range(boxes[parent].layer + 1, boxes[child].layer):
            name = f"({number} through {layer})"
            boxes[name] = _Box(name, layer, passing=True)
            path.append(name)
        edges.append(([*path, child], kind))
    return edges


def _ordered(boxes: dict[str, _Box], steps: list[tuple[str, str]]) -> list[list[_Box]]:
    """The boxes of each layer, near those that they are joined to (barycentres, a few sweeps)."""
    layers: list[list[_Box]] = [[] for _ in range(1 + max(box.layer for box in boxes.values()))]
    for box in boxes.values():
        layers[box.layer].append(box)
    near: dict[str, list[str]] = {name: [] for name in boxes}
    for a, b in steps:
        near[a].append(b)
        near[b].append(a)
    for sweep in range(SWEEPS):
        place = {box.name: index / len(layer) for layer in layers for index, box in enumerate(layer)}
        side = -1 if sweep % 2 == 0 else 1
        for layer in layers if side < 0 else reversed(layers):

            def centre(box: _Box, side: int = side, place: dict[str, float] = place) -> float:
                known = [place[name] for name in near[box.name] if boxes[name].layer == box.layer + side]
                return sum(known) / len(known) if known else place[box.name]

            layer.sort(key=centre)
            place |= {box.name: index / len(layer) for index, box in enumerate(layer)}
    return layers


def _place(layers: list[list[_Box]], data: str) -> tuple[float, float]:
    heights = [sum(box.height for box in layer) + GAP_Y * (len(layer) - 1) for layer in layers]
    x, most = 1.0, max(heights)
    for layer, height in zip(layers, heights, strict=True):
        names = [data if box.name == DATA else box.name for box in layer if not box.passing]
        widths = [BOLD * len(name) for name in names]
        widths += [LETTER * len(line["text"]) for box in layer for line in box.lines]
        width = max(max(widths, default=0.0) + 2 * PAD, 60.0)
        y = 1 + (most - height) / 2
        for box in layer:
            box.x, box.y, box.width = x, y, width
            y += box.height + GAP_Y
        x += width + GAP_X
    return x - GAP_X + 1, most + 2


def _curve(path: list[_Box], kind: str) -> str:
    first, aside = path[0], ASIDE if kind == "teacher" else 0
    x, y = first.x + first.width, first.y + first.height / 2 + aside
    d = f"M{x:.0f} {y:.0f}"
    for box in path[1:]:
        to_y = box.y + box.height / 2 + aside
        middle = (x + box.x) / 2
        d += f"C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {box.x:.0f} {to_y:.0f}"
        x, y = box.x + (box.width if box.passing else 0), to_y
        d += f"H{x:.0f}" if box.passing else ""
    return d


def _shown(box: _Box, source: Source) -> dict[str, Any]:
    suite = source.suite
    if box.name == DATA:
        title, told, kind = suite.data_name, f"data set {suite.data_name}", "data"
    else:
        spec = suite.experiments[box.name]
        seeds = "one training for all seeds" if spec.shared else f"{len(suite.train_seeds)} train seeds"
        title, told, kind = box.name, f"{box.name}: {seeds}, model {spec.model}", "shared" if spec.shared else "train"
    return {
        "title": title,
        "told": told,
        "kind": kind,
        "x": round(box.x),
        "y": round(box.y),
        "width": round(box.width),
        "height": round(box.height),
        "lines": [
            {**line, "x": round(box.x) + PAD, "y": round(box.y) + LINE * (2 + index)}
            for index, line in enumerate(box.lines)
        ],
    }


def _said(source: Source) -> str:
    """The drawing in words."""
    suite = source.suite
    parts = []
    for name in suite.needed:
        spec = suite.experiments[name]
        origin = f"starts from {spec.init}" if spec.init else f"is trained on {suite.data_name} from nothing"
        rows = ", ".join(row.exp_id for row in suite.rows_of(name))
        teacher = f", with {spec.teacher} as teacher" if spec.teacher else ""
        parts.append(f"{name} {origin}{teacher}" + (f" and gives {rows}" if rows else ""))
    return "; ".join(parts) + "."
