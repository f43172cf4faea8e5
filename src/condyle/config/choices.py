"""The lists of choices, each of them once: for settings, requests, flags and fields."""

from __future__ import annotations

from typing import Literal

__all__ = ["Plane", "Planes"]

Plane = Literal["axial", "sagittal", "coronal"]
Planes = Literal["axial", "sagittal", "coronal", "all"]
