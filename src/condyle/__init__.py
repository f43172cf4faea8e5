"""Condyle: segmentations of CT and MRI that can be trusted, from a handful of labelled scans.

With a run of ``condyle train``::

    import condyle

    segmenter = condyle.load("runs/knees")
    labels = segmenter.segment("scan.nii.gz")
    labels.volumes()  # {"femur": 123.4, ...} in cm³
    condyle.write(labels, "labels.nii.gz")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from condyle._version import __version__

if TYPE_CHECKING:
    from condyle.config import Experiment
    from condyle.core import Case, Dataset, Grid, LabelMap, LabelScheme, Volume
    from condyle.io import open_dataset, read, read_labels, to_nibabel, to_sitk, write
    from condyle.networks.inflation.inflate import inflate
    from condyle.predict import Segmenter
    from condyle.predict.segmenter import load
    from condyle.workflows.features import features
    from condyle.workflows.show import show


__all__ = [
    "Case",
    "Dataset",
    "Experiment",
    "Grid",
    "LabelMap",
    "LabelScheme",
    "Segmenter",
    "Volume",
    "__version__",
    "features",
    "inflate",
    "load",
    "open_dataset",
    "read",
    "read_labels",
    "show",
    "to_nibabel",
    "to_sitk",
    "write",
]

HOMES = {
    "Case": "core",
    "Dataset": "core",
    "Experiment": "config",
    "Grid": "core",
    "LabelMap": "core",
    "LabelScheme": "core",
    "Segmenter": "predict",
    "Volume": "core",
    "features": "workflows.features",
    "inflate": "networks.inflation.inflate",
    "load": "predict.segmenter",
    "open_dataset": "io",
    "read": "io",
    "read_labels": "io",
    "show": "workflows.show",
    "to_nibabel": "io",
    "to_sitk": "io",
    "write": "io",
}
"""Public name -> the module that owns it; imported when first asked for, so that this is light."""


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"condyle has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"condyle.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
