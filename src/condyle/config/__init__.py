"""Settings: experiments, comparisons, presets, and the request of each verb."""

from condyle.config.choices import Plane, Planes
from condyle.config.comparison import Comparison
from condyle.config.experiment import (
    Augmentation,
    Experiment,
    Inflation,
    Network,
    Preparation,
    Training,
)
from condyle.config.presets import Preset, Study, presets, read_preset
from condyle.config.section import Section, flattened, merged, read_toml, seconds

__all__ = [
    "Augmentation",
    "Comparison",
    "Experiment",
    "Inflation",
    "Network",
    "Plane",
    "Planes",
    "Preparation",
    "Preset",
    "Section",
    "Study",
    "Training",
    "flattened",
    "merged",
    "presets",
    "read_preset",
    "read_toml",
    "seconds",
]
