import pytest

from condyle import errors


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "CondyleError"])
def test_each_error_is_ours_and_refines_a_builtin_one(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.CondyleError)
    assert any(base.__module__ == "builtins" for base in kind.__mro__[2:-3])


def test_the_tree_on_top_of_the_module_shows_every_error():
    for name in errors.__all__:
        assert name in (errors.__doc__ or "")


def test_an_unknown_name_teaches_the_known_ones():
    sentence = str(errors.UnknownName("loss", "dcie", ["ce", "dice"]))
    assert sentence == "unknown loss 'dcie': did you mean 'dice'? Known: ce, dice"
