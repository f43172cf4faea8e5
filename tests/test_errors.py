import re

import pytest

from condyle import errors


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "CondyleError"])
def test_each_error_is_ours_and_refines_a_builtin_one(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.CondyleError)
    assert any(base.__module__ == "builtins" for base in kind.__mro__[2:-3])


def test_tree_on_top_of_the_module_is_that_of_the_classes():
    tree = errors.__doc__.partition("\n\n")[2]
    lines = re.findall(r"^([│ ]*(?:[├└]── )?)(\w+) +(\(\w+\))?", tree, re.MULTILINE)
    above, drawn = {}, {}
    for lead, name, builtin in lines:
        depth = len(lead) // 4
        above[depth] = name
        drawn[name] = ([above[depth - 1]] if depth else ["Exception"]) + [builtin.strip("()")] * (
            builtin != ""
        )
    classes = [getattr(errors, name) for name in errors.__all__]
    assert drawn == {kind.__name__: [base.__name__ for base in kind.__bases__] for kind in classes}


def test_an_unknown_name_teaches_the_known_ones():
    sentence = str(errors.UnknownName("loss", "dcie", ["ce", "dice"]))
    assert sentence == "unknown loss 'dcie': did you mean 'dice'? Known: ce, dice"
