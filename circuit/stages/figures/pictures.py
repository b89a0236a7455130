"""Pictures in a folder, each with its numbers in a JSON file of the same name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.files.atomic import write_file
from circuit.artifacts.files.documents import document_bytes, plain
from circuit.artifacts.manifest.manifest import write_manifest
from circuit.present.document import Figure
from circuit.values import schemas

if TYPE_CHECKING:
    from circuit.stages.run import Record

PLOTS = "plots.json"


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, its caption, and the numbers that are drawn."""

    name: str
    image: bytes
    caption: str
    numbers: Mapping[str, object]

    @classmethod
    def of(cls, figure: Figure) -> "Picture":
        """Draw a figure."""
        return cls(figure.name, figure.png(), figure.caption, figure.numbers)


@dataclass(frozen=True, kw_only=True)
class FigureFiles:
    """What a manifest says of a picture: its file, the file of its numbers, its caption."""

    file: str
    numbers: str
    caption: str


def described_picture(picture: Picture) -> FigureFiles:
    """Return what a manifest says of a picture."""
    return FigureFiles(
        file=f"{picture.name}.png", numbers=f"{picture.name}.json", caption=picture.caption
    )


def write_pictures(pictures: Sequence[Picture], folder: Path, record: "Record") -> None:
    """Write pictures, each with its numbers, and the manifest that lists them."""
    written = [
        path for picture in pictures for path in write_picture(picture, folder, record.force)
    ]
    results = {"figures": [plain(described_picture(picture)) for picture in pictures]}
    write_manifest(folder / PLOTS, **vars(record), outputs=written, results=results)


def write_picture(picture: Picture, out: Path, force: bool) -> list[Path]:
    """Write a picture and its numbers, and return both files."""
    image, numbers = out / f"{picture.name}.png", out / f"{picture.name}.json"
    document = {
        "schema": schemas.FIGURE,
        "figure": image.name,
        "caption": picture.caption,
        **picture.numbers,
    }
    write_file(numbers, document_bytes(document), force=force)
    write_file(image, picture.image, force=force)
    return [image, numbers]
