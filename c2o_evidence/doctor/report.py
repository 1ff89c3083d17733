"""The findings of `c2o doctor`: one value for each thing looked at, and how they are printed."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    `ok`: it is there and usable; `detail`: what was found; `advice`: what to do, empty for nothing;
    `needed`: the main job cannot run without it.
    """

    section: str
    name: str
    ok: bool
    detail: str
    advice: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Report:
    """All checks, in the order of their sections."""

    checks: tuple[Check, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what the main job (`make step1_5seed`) needs and does not find."""
        return tuple(check.name for check in self.checks if check.needed and not check.ok)


def render(report: Report, as_json: bool = False) -> tuple[str, int]:
    """The report as text and the exit status: 0 when the main job can run here, else 1.

    With `as_json` the text is `{"ready": bool, "checks": [{section, name, ok, detail, advice, needed}]}`.
    """
    text = _json(report) if as_json else _plain(report)
    return text, 1 if report.missing else 0


def _json(report: Report) -> str:
    document = {"ready": not report.missing, "checks": [asdict(check) for check in report.checks]}
    return json.dumps(document, indent=2)


def _plain(report: Report) -> str:
    """`+` there, `-` absent but not needed, `!` needed and absent; the advice below its line."""
    lines: list[str] = []
    width = max((len(check.name) for check in report.checks), default=0)
    section = ""
    for check in report.checks:
        if check.section != section:
            section = check.section
            lines += ["", section]
        mark = "+" if check.ok else "!" if check.needed else "-"
        lines.append(f"  {mark} {check.name:<{width}}  {check.detail}")
        if check.advice:
            lines.append(f"    {'':<{width}}  -> {check.advice}")
    if report.missing:
        lines += ["", f"not ready: see {', '.join(report.missing)} above"]
    else:
        lines += ["", "ready: `make step1_5seed` can run here"]
    return "\n".join(lines).lstrip("\n")
