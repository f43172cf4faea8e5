"""A picture in memory, which a notebook shows and a file keeps."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from condyle.errors import ConfigError
from condyle.jobs.outputs import write_bytes

__all__ = ["Drawing", "require_png"]


@dataclass(frozen=True)
class Drawing:
    """A picture: notebooks show it, `write` keeps it, numpy takes it as an array.

    Parameters
    ----------
    png : the bytes of its file.

    Examples
    --------
    >>> from condyle.report.charts import png
    >>> np.asarray(Drawing(png(np.zeros((20, 30, 3), np.uint8)))).shape
    (20, 30, 3)
    """

    png: bytes

    def write(self, path: str | Path) -> Path:
        """Write it as a PNG, whole or not at all; its path.

        Raises
        ------
        ConfigError
            If the path does not end in .png.
        """
        return write_bytes(require_png(Path(path)), self.png)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """(rows, columns, 3) red, green, blue, 0 to 255; 4 with alpha."""
        with Image.open(BytesIO(self.png)) as opened:
            return np.asarray(opened).astype(dtype or np.uint8)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return self.png

    def __repr__(self) -> str:
        return f"Drawing({len(self.png) / 1024:.0f} KiB)"


def require_png(path: Path) -> Path:
    """A path that ends in .png; `ConfigError` for another."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"`out` is the picture to write and must end in .png, not {path.name}")
    return path
