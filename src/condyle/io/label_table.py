"""The names and colours of labels inside a NIfTI file: the table of Connectome Workbench (Caret).

TotalSegmentator writes it too. It is XML in an extension of the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from condyle.core import LabelScheme
from condyle.errors import LabelError
from condyle.jobs.job import warn

__all__ = ["CODE", "named_in", "storable", "table"]

CODE = 0
"""The extension's code, as TotalSegmentator has it; Workbench has 30. Readers go by the XML."""

UNSTORABLE = re.compile(r"[\x00-\x1f\ufffe\uffff\ud800-\udfff]")
"""Characters that XML cannot hold."""


def storable(scheme: LabelScheme) -> LabelScheme:
    """A scheme as a file can hold it: characters that XML lacks are replaced in its names."""
    names: dict[str, str] = {}
    for entry in scheme.entries:
        name = UNSTORABLE.sub("\ufffd", entry.name)
        names[entry.name] = f"{name}_{entry.id}" if name in names.values() else name
    ids = {names[entry.name]: entry.id for entry in scheme.entries}
    return LabelScheme.of(ids, {names[label.name]: label.colour for label in scheme.labels})


def table(scheme: LabelScheme) -> bytes:
    """The XML of a scheme.

    Examples
    --------
    >>> text = table(LabelScheme.of({"femur": 2}, {"femur": (255, 0, 51)}))
    >>> text[text.index(b"<Label "):text.index(b"</Label>")]
    b'<Label Key="2" Alpha="1" Red="1.0" Green="0.0" Blue="0.2">femur'
    """
    root = ElementTree.Element("CaretExtension")
    volume = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    labels = ElementTree.SubElement(volume, "LabelTable")
    for entry in storable(scheme).entries:
        row = {"Key": str(entry.id), "Alpha": "1"}
        for part, share in zip(("Red", "Green", "Blue"), entry.colour, strict=True):
            row[part] = str(round(share / 255, 3))
        one = ElementTree.SubElement(labels, "Label", row)
        one.text = entry.name
    ElementTree.SubElement(volume, "StudyMetaDataLinkSet")
    ElementTree.SubElement(volume, "VolumeType").text = "Label"
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)


def named_in(extensions: Iterable[bytes], path: object) -> LabelScheme | None:
    """The scheme that a header's extensions hold; None where they hold no table of labels."""
    for content in extensions:
        if b"<LabelTable" not in content:
            continue
        try:
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise ValueError("it defines entities")
            rows = ElementTree.fromstring(content.strip(b"\0 \r\n\t")).iter("Label")
            return _scheme(row for row in rows if int(row.attrib["Key"]) > 0)
        except (ElementTree.ParseError, ValueError, KeyError, LabelError) as error:
            warn(f"the names of labels in {path} cannot be read and are ignored ({error})")
    return None


def _scheme(rows: Iterable[ElementTree.Element]) -> LabelScheme:
    ids: dict[str, int] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        name, number = row.text or f"label_{row.attrib['Key']}", int(row.attrib["Key"])
        if ids.setdefault(name, number) != number:
            raise LabelError(f"{name} has two numbers")
        shares = [float(row.attrib.get(part, "nan")) for part in ("Red", "Green", "Blue")]
        if all(0 <= share <= 1 for share in shares):
            r, g, b = (round(255 * share) for share in shares)
            colours[name] = (r, g, b)
    return LabelScheme.of(ids, colours)
