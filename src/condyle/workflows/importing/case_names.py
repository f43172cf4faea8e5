"""Case names that seem to tell whose scan it is: the date of a study, or a person's name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from condyle.core.merge import ALIASES, FILLERS, SIDES
from condyle.workflows.importing.pairing import MASK_WORDS, SCAN_WORDS

__all__ = ["telling"]

DAY, MONTH, YEAR = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])", r"(?:19|20)\d\d"
DATE = re.compile(rf"(?<!\d)(?:{YEAR}([-_. ]?){MONTH}\1{DAY}|{DAY}([-_. ]?){MONTH}\2{YEAR})(?!\d)")
PERSON = re.compile(r"[^\W\d_]{2,}\^|[^\W\d_]{2,}, ?[^\W\d_]{2,}")
"""DICOM's Surname^First, and Surname, First."""
CAPITAL = re.compile(r"(?<![^\W_])([A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{2,})(?![^\W_])")
"""A word as names are written."""

KNOWN = {
    *SIDES, *FILLERS, *ALIASES, *ALIASES.values(), *MASK_WORDS, *SCAN_WORDS,
    "pat", "patient", "case", "subject", "sub", "study", "series", "session", "visit", "day",
    "baseline", "follow", "test", "train", "phantom", "knee", "hip", "ankle", "foot", "leg", "arm",
    "hand", "head", "neck", "spine", "chest", "thorax", "abdomen", "body", "whole", "lower",
    "upper", "limb", "femur", "tibia", "fibula", "pelvis", "patella", "sacrum", "liver", "heart",
    "brain", "lung", "lungs", "kidney", "hippocampus", "prostate", "cartilage", "bone", "anterior",
    "posterior", "axial", "sagittal", "coronal", "native", "contrast", "control", "healthy",
    "adult", "new", "old", "pre", "post", "site", "center", "centre", "scanner", "siemens",
    "philips", "toshiba", "canon", "group", "cohort", "data",
}  # fmt: skip
"""Words that are capitalised in names of scans, and no person's."""


def telling(names: Iterable[str]) -> list[str]:
    """The names that hold a date or, it seems, a person's name: two capitalised words in a row.

    Examples
    --------
    >>> telling(["2023-04-11 Surname", "Smith_John", "Pat02_pelvis", "Left_Femur"])
    ['2023-04-11 Surname', 'Smith_John']
    """
    return [
        name
        for name in names
        if DATE.search(name)
        or PERSON.search(name)
        or sum(word.lower() not in KNOWN for word in CAPITAL.findall(name)) > 1
    ]
