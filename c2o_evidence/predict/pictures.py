"""The pictures that were typed: which files, the number that keys their noise, and where what is drawn goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
KEY_DIGITS = 12  # of a digest: 48 bits, which every reader of JSON keeps exactly


@dataclass(frozen=True)
class Picture:
    """A picture: image_id keys the noise; known: it is the id of a val picture; output: the file to write."""

    path: Path
    image_id: int
    known: bool
    output: Path


def find_pictures(typed: Sequence[Path]) -> list[Path]:
    """The files; a directory stands for the pictures in it, by name.

    Raises:
        EvidenceError: one is not there, or a directory holds no picture.
    """
    found: list[Path] = []
    for path in typed:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            if not inside:
                raise EvidenceError(
                    f"{path}: holds no picture ({', '.join(SUFFIXES)}); name a file or another directory"
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise EvidenceError(f"{path}: does not exist; name a picture, or a directory with pictures")
    return list(dict.fromkeys(found))


def key_of(path: Path, known: Mapping[str, int]) -> tuple[int, bool]:
    """The number that keys a picture's noise: its image id where the data set has it, else the start of its digest."""
    digest = sha256_file(path)
    return (known[digest], True) if digest in known else (int(digest[:KEY_DIGITS], 16), False)


def place(paths: Sequence[Path], folder: Path, known: Mapping[str, int]) -> list[Picture]:
    """Each picture with its key and `FOLDER/NAME.png`; names that occur twice keep their suffix or get a number.

    Raises:
        EvidenceError: what is drawn would take the place of a picture that was typed.
    """
    originals, taken, pictures = {path.resolve() for path in paths}, set[str](), []
    stems = [path.stem for path in paths]
    for path in paths:
        wanted = path.stem if stems.count(path.stem) == 1 else path.name
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}-{number}", number + 1
        taken.add(name)
        output = folder / f"{name}.png"
        if output.resolve() in originals:
            raise EvidenceError(f"{output}: is one of the pictures itself; choose another --output")
        pictures.append(Picture(path, *key_of(path, known), output))
    return pictures
