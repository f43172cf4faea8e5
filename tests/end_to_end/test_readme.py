"""Every command and call that the README shows exists."""

import re
import shlex
from pathlib import Path

import condyle
from condyle.app.cli.main import app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_commands_of_the_readme_parse():
    commands = re.findall(r"^condyle (.+?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


def test_the_python_of_the_readme_names_what_is_there():
    for name in re.findall(r"condyle\.(\w+)\(", README):
        assert hasattr(condyle, name)


def test_the_public_menu_holds_what_it_lists():
    for name in condyle.__all__:
        assert getattr(condyle, name) is not None
