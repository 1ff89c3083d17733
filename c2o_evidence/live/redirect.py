"""While the live view has the terminal, what this process and its children print goes to a file."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO


class Redirect:
    """Leads standard output and error, where they are a terminal, to the end of a file; `terminal` is what they were.

    Descriptors, not Python's streams: jobs are processes of their own. Handlers of `logger` that colour what they write
    for a terminal do not until the end.
    """

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._saved = {stream: os.dup(stream.fileno()) for stream in (sys.stdout, sys.stderr) if stream.isatty()}
        self.terminal: TextIO = os.fdopen(
            os.dup(self._saved[sys.stderr]), "w", encoding=sys.stderr.encoding, errors="replace"
        )
        handlers = [handler for handler in logger.handlers if getattr(handler, "nocolor", True) is False]
        self._coloured = handlers
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            for stream in self._saved:
                stream.flush()
                os.dup2(file, stream.fileno())
        finally:
            os.close(file)
        for handler in handlers:
            handler.nocolor = True  # type: ignore[attr-defined]

    def close(self) -> None:
        """Lead them back; a second time does nothing."""
        saved, self._saved = self._saved, {}
        for stream, descriptor in saved.items():
            with suppress(OSError, ValueError):  # a full disk must not keep the terminal from coming back
                stream.flush()
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)
        for handler in self._coloured:
            handler.nocolor = False  # type: ignore[attr-defined]
