"""Where the files of a suite lie, and what they hash to: in a checkout, or in a bundle of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from c2o_evidence.code import code_digest
from c2o_evidence.extent import Extent, extent_of
from c2o_evidence.suite import Suite
from c2o_evidence.verify.files import hash_files

Progress = Callable[[int], None]


@dataclass
class Layout:
    """The files of one suite. Names are relative to the repository; `bundle` is the directory that stands for
    `results/SUITE`, with the data manifest and annotations in its `data`.

    `digests` holds what has been hashed; `faults` what could not be (a link, a device, unreadable). `witness` is a
    verified bundle elsewhere, whose list tells which figures belong to which tables.
    """

    root: Path
    suite: Suite
    bundle: Path | None = None
    witness: Path | None = None
    digests: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    _codes: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a file lies."""
        if self.bundle is not None:
            for before, after in ((f"results/{self.suite.name}/", ""), (f"data/{self.suite.data_name}/", "data/")):
                if name.startswith(before):
                    return self.bundle / after / name.removeprefix(before)
        return self.root / name

    @cached_property
    def extent(self) -> Extent:
        """What there should be beside what the suite tells, by the curves that lie here."""
        return extent_of(self.path(f"results/{self.suite.name}/"), self.suite)

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of those that are there and not hashed yet."""
        found = {}
        for name in names:
            if name in self.digests:
                continue
            try:
                info = os.lstat(self.path(name))
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode):
                found[name] = info.st_size
            else:
                self.faults[name] = "is a link" if stat.S_ISLNK(info.st_mode) else "is no plain file"
        return found

    def hash(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """Hash what is there and has not been hashed; links are not followed."""
        sizes = self.sizes(names)
        digests, errors = hash_files(
            Path("/"), {str(self.path(name).absolute()).lstrip("/"): size for name, size in sizes.items()},
            progress=progress,
        )  # fmt: skip
        for name in sizes:
            key = str(self.path(name).absolute()).lstrip("/")
            if key in digests:
                self.digests[name] = digests[key]
            else:
                self.faults[name] = f"cannot be read: {errors[key].strerror}"

    def code(self, part: str) -> str:
        """Digest of the sources of a part, read once: thousands of jobs may ask."""
        if part not in self._codes:
            self._codes[part] = code_digest(self.root, part)
        return self._codes[part]

    def there(self, name: str) -> bool:
        """Whether something lies there, whatever it is."""
        return os.path.lexists(self.path(name))
