"""What structures are called in SNOMED CT, the terms that DICOM names them by."""

from __future__ import annotations

import re

from condyle.core.labels import SIDES

__all__ = ["ANATOMY", "LATERALITY", "STRUCTURES", "TISSUE", "Code", "sided"]

Code = tuple[str, str]
"""A code of SNOMED CT and its meaning."""

ANATOMY: Code = ("91723000", "Anatomical Structure")
TISSUE: Code = ("85756007", "Tissue")
"""What a structure is that is not in `STRUCTURES`, and its category."""

STRUCTURES: dict[str, Code] = {
    "bone": ("272673000", "Bone"),
    "calcaneus": ("80144004", "Calcaneus"),
    "cartilage": ("309312004", "Cartilage"),
    "clavicle": ("51299004", "Clavicle"),
    "clavicula": ("51299004", "Clavicle"),
    "coccyx": ("64688005", "Coccyx"),
    "femur": ("71341001", "Femur"),
    "fibula": ("87342007", "Fibula"),
    "hip": ("29836001", "Hip"),
    "hip bone": ("29836001", "Hip"),
    "humerus": ("85050009", "Humerus"),
    "ilium": ("22356005", "Ilium"),
    "meniscus": ("74135004", "Meniscus"),
    "patella": ("64234005", "Patella"),
    "pelvis": ("118645006", "Pelvis"),
    "radius": ("62413002", "Radius"),
    "rib": ("113197003", "Rib"),
    "sacrum": ("54735007", "Sacrum"),
    "scapula": ("79601000", "Scapula"),
    "skull": ("89546000", "Skull"),
    "spinal cord": ("2748008", "Spinal cord"),
    "spine": ("421060004", "Spine"),
    "sternum": ("56873002", "Sternum"),
    "talus": ("67453005", "Talus"),
    "tibia": ("12611008", "Tibia"),
    "ulna": ("23416004", "Ulna"),
    "vertebra": ("51282000", "Vertebra"),
    "vertebrae": ("51282000", "Vertebra"),
}
"""A structure's name, without side and number, -> its code."""

LATERALITY: tuple[Code, Code] = (("7771000", "Left"), ("24028007", "Right"))


def sided(name: str) -> tuple[str, int | None]:
    """A structure's name without its side and numbers, and its side: 0 left, 1 right, or None."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    sides = [at for word in words for pair in SIDES for at in (0, 1) if pair[at] == word]
    either = {word for pair in SIDES for word in pair}
    kept = [w for w in words if w not in either and not any(c.isdigit() for c in w)]
    return " ".join(kept), sides[0] if len(sides) == 1 else None
