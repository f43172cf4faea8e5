"""NRRD and MetaImage, with LPS turned to RAS+ here; SimpleITK writes them, and never reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import UnreadableFile
from condyle.io.nrrd.fields import META_TYPES, described
from condyle.io.nrrd.header import Header, read_header, voxels
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.job import warn
from condyle.jobs.outputs import atomic_write

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["load", "load_layers", "save", "save_detached"]


DRIVERS = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (i, j, k), its grid, and '' (the formats name no modality)."""
    array, grid, _ = load_layers(path)
    if array.ndim != 3:
        raise UnreadableFile(
            f"{path} holds {array.shape[3]} numbers a voxel: colours, vectors or overlapping "
            "segments; export one grey volume"
        )
    return array, grid, ""


def load_layers(path: Path) -> tuple[NDArray[Any], Grid, Header]:
    """The array, (i, j, k) or (i, j, k, layer), its grid, and the file's header."""
    header = read_header(path)
    promise = described(path, header)
    if not promise.in_body:
        warn(f"{path} does not say how its axes lie in the body: left-posterior-superior is taken")
    array = voxels(path, header, promise.nbytes).view(promise.dtype)
    array = array.reshape(promise.sides, order="F")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if promise.layered is not None:
        array = np.moveaxis(array, promise.layered, -1)
        array = array[..., 0] if array.shape[3] == 1 else array
    i, j, k = array.shape[:3]
    return array, Grid((i, j, k), LPS_TO_RAS @ promise.affine), header


def as_sitk(array: NDArray[Any], grid: Grid) -> SimpleITK.Image:
    """The image of SimpleITK with these numbers, in LPS mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array.T)
    affine = LPS_TO_RAS @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def save(
    path: Path, array: NDArray[Any], grid: Grid, keys: Mapping[str, str] | None = None
) -> None:
    """Write an array compressed, as .nrrd (with free key-value pairs) or .mha."""
    import SimpleITK as sitk

    image = as_sitk(array, grid)
    for key, value in (keys or {}).items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(DRIVERS[path.suffix.lower()])
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.Execute(image)


def save_detached(path: Path, array: NDArray[Any], grid: Grid, final: Path) -> None:
    """Write a .mhd at `path` that names the .raw beside `final`, and that .raw, whole.

    The two files cannot be replaced in one step. So the old header goes once the new voxels are
    safe, and the new header comes last: a header never stands beside another scan's voxels.
    """
    affine = LPS_TO_RAS @ grid.affine
    # MetaImage counts a matrix by columns: the three directions, one after the other
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": array.dtype.newbyteorder("=").str[0] == ">",
        "CompressedData": False,
        "TransformMatrix": _spaced((affine[:3, :3] / grid.spacing).T.ravel()),
        "Offset": _spaced(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _spaced(grid.spacing),
        "DimSize": " ".join(map(str, grid.shape)),
        "ElementType": META_TYPES[array.dtype.name],
        "ElementDataFile": final.with_suffix(".raw").name,
    }
    header = "".join(f"{key} = {value}\n" for key, value in fields.items())
    with atomic_write(
        final.with_suffix(".raw"), check=lambda _: final.unlink(missing_ok=True)
    ) as raw:
        raw.write_bytes(array.tobytes(order="F"))
        path.write_text(header, encoding="utf-8")


def _spaced(numbers: Any) -> str:
    """Numbers with every digit they have, parted by spaces."""
    return " ".join(repr(float(n)) for n in numbers)
