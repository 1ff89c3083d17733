"""The error of the data layer."""

from __future__ import annotations

from os import PathLike


class DataError(Exception):
    """Bad or missing data. The message names the file, what is wrong with it and what to do.

    Built as ``DataError(path, what, todo)``, printed as ``path: what; todo``.
    """

    def __init__(self, path: str | PathLike[str], what: str, todo: str) -> None:
        super().__init__(f"{path}: {what}; {todo}")
        self.path = str(path)
