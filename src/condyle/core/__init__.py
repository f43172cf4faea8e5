"""What a scan is: grids, volumes, label maps, cases. Knows numpy, and no file format."""

from condyle.core.case import Case, Dataset, Fold
from condyle.core.grid import Grid, Turn
from condyle.core.labels import KNEE, LOWER_LIMB, SCHEMES, Label, LabelMap, LabelScheme
from condyle.core.volume import Volume

__all__ = [
    "KNEE",
    "LOWER_LIMB",
    "SCHEMES",
    "Case",
    "Dataset",
    "Fold",
    "Grid",
    "Label",
    "LabelMap",
    "LabelScheme",
    "Turn",
    "Volume",
]
