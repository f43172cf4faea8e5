"""Write preset_numbers.md: `python docs/preset_numbers.py`."""

from pathlib import Path

from condyle.config import presets
from condyle.config.requests import PresetsRequest
from condyle.report.tables import markdown
from condyle.workflows.doctor import list_presets

HEAD = """# The studies' numbers and the presets'

Every number that a study tells, what its preset has, and why that differs. `condyle presets NAME`
prints the same. Settings have the names of `config.toml`; `data`, `augmentation.labels`,
`network.kernel` and `network.output` are what no setting stands for. A row of a variant counts for
it alone.
"""


def page():
    """The page's text."""
    parts = [HEAD]
    for name in presets():
        rows = list_presets(PresetsRequest(name=name))
        parts += [f"\n## {name}\n\n", markdown(rows)]
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("preset_numbers.md").write_text(page(), encoding="utf-8")
