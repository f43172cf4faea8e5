"""The house rules that a reader would notice: short modules and functions, no torch for --help."""

import ast
import codecs
import re
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "condyle"
PARTS = ("src", "tests", "docs", "benchmarks", "changes")
MODULES = sorted(SOURCE.rglob("*.py"))


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function after its docstring."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert body_lines(node) <= 60, f"{node.name} is {body_lines(node)} lines long"


def test_the_training_loop_is_prose_of_at_most_300_lines():
    assert len((SOURCE / "train" / "loop.py").read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_are_named_by_nouns_of_the_field(path):
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def statements(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, under ``if`` (TYPE_CHECKING) and ``try`` too, not in functions."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from statements(node.body + node.orelse)


def imports_of(path: Path, modules: Container[str]) -> set[str]:
    """The modules of ours that a module imports; a package's name alone is its ``__init__``."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{n}" if f"{node.module}.{n}" in modules else str(node.module)
                     for n in names]  # fmt: skip
        found |= {name for name in names if name in modules}
    return found - {name_of(path)}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The imports that lead back to where they came from, one a circle."""
    found, done = [], set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def test_circles_of_imports_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == ["a -> b -> c -> a"]


# the public menu names the types of all floors for checkers, and imports none of them
MENU = {"condyle"}


def test_imports_have_no_circle_even_for_type_checkers():
    modules = {name_of(path): path for path in MODULES}
    graph = {name: imports_of(path, modules) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > len(modules)
    assert circles({name: graph[name] - MENU for name in set(graph) - MENU}) == []


def loaded_by(arguments: list[str]) -> set[str]:
    """The modules that a command line has imported by its end."""
    code = (
        "import sys\nfrom condyle.app.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    heavy = {"torch", "timm", "pandas", "matplotlib", "SimpleITK", "scipy", "nibabel", "pydicom"}
    assert not heavy & loaded_by(arguments)


def test_importing_condyle_is_light():
    code = "import sys, condyle; print('torch' in sys.modules, 'nibabel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_texts_are_utf8_with_unix_lines():
    endings = {".py", ".md", ".toml", ".cff", ".yaml"}
    texts = [f for part in PARTS for f in (ROOT / part).rglob("*") if f.suffix in endings]
    texts += [f for f in ROOT.iterdir() if f.suffix in endings]
    assert len(texts) > len(MODULES)
    for path in texts:
        content = path.read_bytes()
        content.decode("utf-8")  # raises where it is not
        assert not content.startswith(codecs.BOM_UTF8), path
        assert b"\r" not in content, path
        assert not content or content.endswith(b"\n"), path


WRITES = re.compile(
    r"""\.write_(text|bytes)\(|open\([^)]*["'][wax]b?["']|\.mkdir\(|\bnp\.save\(|save_file\(|
    \.savefig\((?!stream)|shutil\.(copy|move)|os\.(link|replace|rename)\(|\.rename\(|FileHandler\(|
    \.to_(parquet|csv)\(|save_model\(""",
    re.VERBOSE,
)
WRITERS = {
    "jobs/outputs.py": "the one writer",
    "jobs/job.py": "a log file grows line by line",
    "app/web/events.py": "a job's events grow line by line",
    "app/web/job_folder.py": "the log of a job's own process",
    "app/web/places.py": "a secret that nobody else may read, even for a moment",
    "app/web/uploads.py": "files as they come in, which a failed upload removes",
    "engines/process.py": "an engine's own log and folder",
    "engines/nnunet.py": "nnU-Net's own folders",
    "engines/totalsegmentator.py": "TotalSegmentator's own weights, unpacked beside their place",
    "networks/weights/locate.py": "torch's folder for downloads",
    "networks/weights/pickles.py": "a process of its own that knows nothing of us",
    "workflows/import_weights.py": "a file that is joined in a temporary folder",
    "workflows/training/train_engine.py": "a folder of predictions that takes another's place",
    "io/zip.py": "a temporary folder",
    "io/nifti.py": "writes to the temporary path that it is given",
    "io/nrrd/image.py": "writes to the temporary path that it is given",
    "train/prepared_cases.py": "writes to the temporary path that it is given",
    "workflows/features.py": "writes to the temporary path that it is given",
    "predict/runtimes/openvino.py": "writes to the temporary path that it is given",
}
"""The modules that open files for writing, each with its reason."""


def test_files_are_written_in_one_place():
    found = {
        str(path.relative_to(SOURCE))
        for path in MODULES
        if "children" not in path.parts and WRITES.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(WRITERS)
