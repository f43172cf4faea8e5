"""The lists of choices, each of them once: for settings, requests, flags and fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

__all__ = [
    "ExportFormat",
    "ExportPrecision",
    "FeatureMode",
    "FeaturePool",
    "Flips",
    "FoldChoice",
    "ImportArea",
    "InflationStrategy",
    "LabelFormat",
    "MeshFormat",
    "MeshSpace",
    "NotDrawn",
    "Overlap",
    "Plane",
    "Planes",
    "RunSort",
    "Runtime",
    "SegmentArea",
    "Tracker",
]

Plane = Literal["axial", "sagittal", "coronal"]
Planes = Literal["axial", "sagittal", "coronal", "all"]
FoldChoice = Annotated[int, Field(ge=0)] | Literal["all"]
Flips = Literal["none", "left-right", "all"]
Runtime = Literal["auto", "torch", "openvino"]
InflationStrategy = Literal["average", "center", "first", "scale", "acs"]
Overlap = Literal["background", "priority", "error"]
NotDrawn = Literal["background", "ignore"]
ImportArea = Literal["whole", "labelled"]
SegmentArea = Literal["whole", "auto"]
LabelFormat = Literal["nifti", "nrrd", "seg.nrrd", "mha", "dicom-seg", "rtstruct"]
MeshFormat = Literal["ply", "stl", "obj", "glb"]
MeshSpace = Literal["ras", "lps"]
FeatureMode = Literal["volume", "box"]
FeaturePool = Literal["volume", "region"]
ExportFormat = Literal["openvino", "onnx"]
ExportPrecision = Literal["fp32", "int8"]
RunSort = Literal["name", "dice", "time"]
Tracker = Literal["tensorboard", "mlflow"]
