"""Copies what the page takes from node_modules into the package; hatch runs it for a wheel, too."""

import shutil
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by make
    BuildHookInterface = object

ROOT = Path(__file__).parent
FILES = {
    "@niivue/niivue/dist/index.js": "niivue.js",
    "uplot/dist/uPlot.esm.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}
LICENCES = {"uplot": "uplot-LICENSE"}
"""NiiVue's, which its package lacks, lies in the static folder."""


def copy() -> None:
    """Copy them where npm has put them; does nothing without."""
    vendor = ROOT / "src/condyle/app/web/static/vendor"
    source = ROOT / "node_modules"
    if not source.is_dir():
        return
    vendor.mkdir(parents=True, exist_ok=True)
    for file, name in FILES.items():
        shutil.copyfile(source / file, vendor / name)
    for package, name in LICENCES.items():
        for file in (source / package).glob("LICENSE*"):
            shutil.copyfile(file, vendor / name)


class BuildHook(BuildHookInterface):
    """For a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Copy, and put the files into the wheel although git does not know them."""
        copy()
        build_data["artifacts"].append("src/condyle/app/web/static/vendor/*")


if __name__ == "__main__":
    copy()
