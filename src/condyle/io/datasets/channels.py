"""Which files are the channels of one case: nnU-Net's CASE_0000, CASE_0001, ..."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from condyle.errors import DatasetError
from condyle.io.paths import channel_of

__all__ = ["channels_in", "files_by_case"]


def channels_in(names: Collection[str], cases: Collection[str]) -> int:
    """How many channels a case has, by the base names of scans; 0 where digits are no channels.

    Four digits at the end count channels only where all of the data set says so: where label maps
    have the names without them; or, without any label map of these names, where each case has
    the same numbers from 0000 on.

    Parameters
    ----------
    cases : the names of the label maps.

    Examples
    --------
    >>> channels_in(["a_0000", "a_0001"], ["a"]), channels_in(["a_0000", "a_0001"], ["a_0000"])
    (2, 0)
    """
    numbers: dict[str, set[int]] = {}
    for name in names:
        case, channel = channel_of(name)
        if channel is not None and name not in cases and channel < 10:
            numbers.setdefault(case, set()).add(channel)
    most = 1 + max((max(found) for found in numbers.values()), default=-1)
    if any(case in cases for case in numbers):
        return most
    if any(name in cases for name in names):
        return 0
    complete = all(found == set(range(most)) for found in numbers.values())
    return most if complete and sum(map(len, numbers.values())) == len(names) else 0


def files_by_case(
    root: Path, files: Sequence[tuple[str, Path]], cases: Collection[str], channels: int
) -> dict[str, list[Path]]:
    """Case -> its files in the order of their channels.

    Parameters
    ----------
    files : base names and files of scans.
    cases : the names of the label maps.
    channels : how many a case has; 0 where the digits at a name's end are no channel.

    Raises
    ------
    DatasetError
        If a case lacks a channel, or two files are the same one.
    """
    found: dict[str, dict[int, Path]] = {}
    for name, file in files:
        case, channel = channel_of(name)
        if channel is None or name in cases or channel >= channels:
            case, channel = name, -1
        if channel in found.setdefault(case, {}):
            raise DatasetError(f"{root} holds more than one scan called {name}")
        found[case][channel] = file
    for case, numbered in found.items():
        missing = sorted(set(range(channels)) - set(numbered))
        if -1 not in numbered and missing:
            raise DatasetError(f"{root}: case {case} lacks its channel {case}_{missing[0]:04d}")
    return {case: _in_order(numbered) for case, numbered in found.items()}


def _in_order(numbered: Mapping[int, Path]) -> list[Path]:
    return [numbered[n] for n in sorted(numbered)]
