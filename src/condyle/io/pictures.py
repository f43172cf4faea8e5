"""Two-dimensional pictures, grey or in colour: scans of one slice, without millimetres.

PNG, JPEG and TIFF. What a picture says of its resolution (dpi) is about paper and is not used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from condyle.core import Grid, LabelScheme, Volume
from condyle.core.labels import Label
from condyle.errors import LabelError, UnreadableFile
from condyle.io.paths import ENDINGS, ending_of, kind_of, not_a
from condyle.io.safety import reading
from condyle.jobs.job import warn
from condyle.jobs.process import without_python_warnings

__all__ = [
    "COLOURS",
    "as_channels",
    "in_colour",
    "is_picture",
    "load",
    "load_labels",
    "save",
    "save_colours",
    "save_labels",
]

COLOURS = ("R", "G", "B")
"""The channels of a picture in colour, as nnU-Net calls them."""
JPEG_NOISE, JPEG_EDGES = 40, 0.1
"""How far a JPEG's black and white may be off, and which part of its pixels may be further."""
KEY = "condyle:labels"
"""The text of a PNG that names its labels."""
GREY_MODES = ("L", "I;16", "I;16L", "I;16B", "I;16N", "I", "F", "1")
FORMATS = ("PNG", "JPEG", "TIFF")


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return ENDINGS.get(ending_of(path)) == "picture"


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (columns, rows, 1), or (columns, rows, 1, 3) of one in colour, its grid, and ''.

    Turned upright as its EXIF note says. Transparency is left out, and said where there is any. A
    palette becomes its colours.
    """
    with _opened(path) as image:
        array = _in_slice(_pixels(image, path))
    return array, Grid.of_picture(array.shape[0], array.shape[1]), ""


def as_channels(volumes: Sequence[Volume], count: int) -> tuple[Volume, ...]:
    """A picture's channels, as many as are wanted, where that changes no colour.

    A grey one has three equal channels; of one in colour whose channels are equal one is enough.
    """
    if len(volumes) == 1 and count == len(COLOURS):
        return tuple(volumes) * count
    first = volumes[0].array
    if count == 1 and all(np.array_equal(first, other.array) for other in volumes[1:]):
        return (volumes[0],)
    return tuple(volumes)


def in_colour(path: Path) -> bool:
    """Whether a file is a picture in colour; its pixels are not read."""
    with reading(path), _opened(path) as image:
        return image.mode not in (*GREY_MODES, "LA")


def load_labels(
    path: Path, scheme: LabelScheme | None = None
) -> tuple[NDArray[Any], Grid, LabelScheme | None]:
    """Label numbers (columns, rows, 1), their grid, and the names in the file, if there are any.

    The numbers are those of a grey picture or of a palette; of one in colour, those of the
    scheme's structures that have these colours, and 0 where it is black. A mask of 0 and 255
    alone is one of label 1; one in JPEG, which changes numbers a little, can be nothing else.

    Raises
    ------
    LabelError
        If it is in colour and no structure has one of its colours, or it is a JPEG of numbers.
    """
    with _opened(path) as image:
        own, is_jpeg = _names(image), image.format == "JPEG"
        if image.mode == "P":
            pixels = np.asarray(ImageOps.exif_transpose(image))
        else:
            pixels = _pixels(image, path)
    if is_jpeg:
        pixels = _of_jpeg(pixels, path)
    if pixels.ndim == 3:
        pixels = _numbers_of_colours(pixels, own or scheme, path)
    if own is None and not (pixels % 255).any():
        pixels = (pixels > 0).astype(np.uint8)
    array = _in_slice(pixels)
    return array, Grid.of_picture(array.shape[0], array.shape[1]), own


def save(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write a grey picture as a PNG: 8 bits, or 16."""
    _require_slice(grid, path)
    Image.fromarray(np.ascontiguousarray(array[:, :, 0].T)).save(path, "PNG")


def save_labels(path: Path, array: NDArray[Any], grid: Grid, scheme: LabelScheme | None) -> None:
    """Write label numbers as a PNG: with a palette of the scheme's colours and its names in it.

    Without a scheme, and with numbers above 255, they are plain grey numbers.
    """
    _require_slice(grid, path)
    image = Image.fromarray(np.ascontiguousarray(array[:, :, 0].T))
    if scheme is None:
        image.save(path, "PNG")
        return
    about = PngInfo()
    named = scheme.entries
    about.add_text(KEY, json.dumps([[label.id, label.name, *label.colour] for label in named]))
    if array.dtype == np.uint8 and max(label.id for label in named) < 256:
        palette = np.zeros((256, 3), np.uint8)
        for label in named:
            palette[label.id] = label.colour
        image = image.convert("L")
        image.putpalette(palette.tobytes())
    image.save(path, "PNG", pnginfo=about)


def save_colours(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write a picture in colour, (columns, rows, 1, 3) of 8 bits, as a PNG."""
    _require_slice(grid, path)
    Image.fromarray(np.ascontiguousarray(np.swapaxes(array[:, :, 0], 0, 1))).save(path, "PNG")


def _in_slice(pixels: NDArray[Any]) -> NDArray[Any]:
    """(columns, rows, 1), or (columns, rows, 1, 3), of pixels (rows, columns) as they are seen."""
    return np.swapaxes(pixels, 0, 1)[:, :, None]


def _require_slice(grid: Grid, path: Path) -> None:
    assert grid.shape[2] == 1, f"{path} is no picture"


def _opened(path: Path) -> Image.Image:
    """A picture's file, opened: one picture, of a size that memory holds."""
    try:
        with without_python_warnings():
            image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableFile(f"{path} is too large: {error}") from error
    except UnidentifiedImageError as error:
        if kind_of(path) == "a TIFF picture":
            raise UnreadableFile(
                f"{path} is a TIFF of a kind that cannot be read (or damaged): save it as PNG, or "
                "with 8 bits a colour"
            ) from error
        raise not_a(path, "a PNG, JPEG or TIFF picture") from error
    if (pages := getattr(image, "n_frames", 1)) > 1:
        image.close()
        raise UnreadableFile(
            f"{path} holds {pages} pages: export each as a picture of its own, or the stack as a "
            "scan with its spacing in mm (.nii.gz, .nrrd)"
        )
    return image


def _pixels(image: Image.Image, path: Path) -> NDArray[Any]:
    """(rows, columns) numbers, or (rows, columns, 3) of red, green and blue, upright."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if (alpha < 255).any():
            warn(f"{path} is transparent in places: its colours there were taken as they are")
    if image.mode in GREY_MODES:
        pixels = np.asarray(image)
        if pixels.dtype == bool:
            return pixels.astype(np.uint8)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return np.asarray(image.convert("L" if image.mode == "LA" else "RGB"))


def _names(image: Image.Image) -> LabelScheme | None:
    """The names that Condyle wrote into a PNG."""
    try:
        rows = json.loads(str(image.info[KEY]))
        labels = [Label(int(n), str(name), (int(r), int(g), int(b))) for n, name, r, g, b in rows]
        ignored = [label.id for label in labels if label.name == "ignore"]
        kept = tuple(label for label in labels if label.name != "ignore")
        return LabelScheme(kept, ignored[0] if ignored else None)
    except (KeyError, TypeError, ValueError):
        return None


def _of_jpeg(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The mask that a JPEG stood for: black and white, whose edges it has blurred."""
    between = (pixels > JPEG_NOISE) & (pixels < 255 - JPEG_NOISE)
    if between.mean() > JPEG_EDGES:
        raise LabelError(
            f"{path} is a JPEG, which changes the numbers of labels: save masks as PNG or TIFF"
        )
    return np.where(pixels > 127, np.uint8(255), np.uint8(0))


def _numbers_of_colours(
    pixels: NDArray[Any], scheme: LabelScheme | None, path: Path
) -> NDArray[np.uint8]:
    """Label numbers of a mask in colour: each structure's where it has the structure's colour.

    Of grey colours alone, their grey.
    """
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    known: Sequence[Label] = () if scheme is None else scheme.entries
    numbers = np.zeros(pixels.shape[:2], np.uint8)
    left = pixels.any(axis=-1)
    for label in known:
        its = (pixels == label.colour).all(axis=-1)
        numbers[its], left = label.id, left & ~its
    if left.any():
        red, green, blue = (int(part) for part in pixels[left][0])
        raise LabelError(
            f"{path} is a mask in colour, and no structure has its colour {red}, {green}, {blue}: "
            "give a scheme with colours, or save the mask with numbers"
        )
    return numbers
