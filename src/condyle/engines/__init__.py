"""OTHER PEOPLE'S SEGMENTERS behind ours: nnU-Net and TotalSegmentator, each in its own process."""

from condyle.engines.names import EngineName, is_engine, names

__all__ = ["EngineName", "is_engine", "names"]
