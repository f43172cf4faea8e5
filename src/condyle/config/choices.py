"""The lists of choices, each of them once: for settings, requests, flags and fields."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "ExportFormat",
    "ExportPrecision",
    "FeatureMode",
    "FeaturePool",
    "Flips",
    "ImportArea",
    "InflationStrategy",
    "LabelFormat",
    "MeshFormat",
    "MeshSpace",
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
Flips = Literal["none", "left-right", "all"]
Runtime = Literal["auto", "torch", "openvino"]
InflationStrategy = Literal["average", "center", "first", "scale", "acs"]
Overlap = Literal["background", "priority", "error"]
ImportArea = Literal["whole", "labelled"]
SegmentArea = Literal["whole", "auto"]
LabelFormat = Literal["nifti", "nrrd", "mha", "dicom-seg"]
MeshFormat = Literal["ply", "stl", "obj", "glb"]
MeshSpace = Literal["ras", "lps"]
FeatureMode = Literal["volume", "box"]
FeaturePool = Literal["volume", "region"]
ExportFormat = Literal["openvino", "onnx"]
ExportPrecision = Literal["fp32", "int8"]
RunSort = Literal["name", "dice", "time"]
Tracker = Literal["tensorboard", "mlflow"]
