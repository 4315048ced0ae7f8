"""How a pruner is found: by its name, by where it is, or as it is."""

import sys
import textwrap

import pytest

from qtuning.errors import UsageError
from qtuning.pruners.protocols import SCORES
from qtuning.pruners.registry import (
    SAMPLE_PRUNERS,
    TOKEN_PRUNERS,
    resolve_sample_pruner,
    resolve_token_pruner,
)

resolvers = pytest.mark.parametrize(
    ("resolve", "registry", "field"),
    [
        (resolve_sample_pruner, SAMPLE_PRUNERS, "sample_pruner"),
        (resolve_token_pruner, TOKEN_PRUNERS, "token_pruner"),
    ],
)


class Own:
    needs = frozenset()

    def __call__(self, pool, args):
        return pool


class Demanding(Own):
    def __init__(self, temperature):
        self.temperature = temperature


@pytest.fixture
def module(tmp_path, monkeypatch):
    code = """
        class Own:
            needs = frozenset()
            def __call__(self, pool, args):
                return "class"
        instance = Own()
        def function(pool, args):
            return "function"
        number = 3
    """
    (tmp_path / "my_pruners.py").write_text(textwrap.dedent(code))
    (tmp_path / "my_broken.py").write_text("import there_is_no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_pruners", raising=False)  # another test's
    return "my_pruners"


@resolvers
def test_every_registered_name_is_found(resolve, registry, field):
    assert {name: resolve(name) for name in registry} == registry


@resolvers
@pytest.mark.parametrize(("typo", "meant"), [("q-tunning", "q-tuning"), ("randon", "random")])
def test_an_unknown_name_is_a_usage_error_with_the_near_and_the_known_ones(
    resolve, registry, field, typo, meant
):
    with pytest.raises(UsageError, match=f"unknown {field} '{typo}': did you mean {meant}") as told:
        resolve(typo)
    assert all(name in str(told.value) for name in registry)


@resolvers
@pytest.mark.parametrize("name", ["zzzzzz", ""])
def test_a_name_near_to_none_lists_the_known_ones(resolve, registry, field, name):
    with pytest.raises(UsageError, match=f"unknown {field} '{name}': known are"):
        resolve(name)


@resolvers
@pytest.mark.parametrize(
    ("name", "result"), [("Own", "class"), ("instance", "class"), ("function", "function")]
)
def test_a_pruner_is_imported_by_module_and_name(module, resolve, registry, field, name, result):
    assert resolve(f"{module}:{name}")(None, None) == result


@resolvers
def test_a_class_an_instance_and_a_function_are_taken_as_they_are(resolve, registry, field):
    own = Own()
    assert resolve(own) is own
    assert isinstance(resolve(Own), Own)
    function = resolve(lambda pool, args: (pool, args))
    assert function("pool", "args") == ("pool", "args")
    assert function.needs == {SCORES}, "it may read the scores"


@resolvers
@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("no_such_module_here:x", "cannot import 'no_such_module_here'"),
        ("my_broken:x", "there_is_no_such_module"),
        ("my_pruners:nope", "module 'my_pruners' has no 'nope'"),
        ("my_pruners:", "has no ''"),
        ("my_pruners:number", "neither a name nor callable"),
        (3, "neither a name nor callable"),
        (None, "neither a name nor callable"),
        (":x", ""),
        ("..relative:x", ""),
        (Demanding, ""),
    ],
)
def test_what_cannot_be_used_is_a_usage_error_that_names_the_field(
    module, resolve, registry, field, spec, told
):
    with pytest.raises(UsageError, match=f"{field}.*{told}"):
        resolve(spec)


@resolvers
def test_a_function_may_say_what_it_reads(resolve, registry, field):
    def longest_first(pool, args):
        return pool

    longest_first.needs = frozenset()
    assert resolve(longest_first).needs == frozenset()
    longest_first.needs = [SCORES]
    assert resolve(longest_first).needs == {SCORES}
    assert resolve(longest_first)("pool", None) == "pool"


@resolvers
@pytest.mark.parametrize("needs", [{"no such thing"}, "scores", 3])
def test_needs_that_nobody_can_meet_are_refused(resolve, registry, field, needs):
    def own(pool, args):
        return pool

    own.needs = needs
    with pytest.raises(UsageError, match="its needs are"):
        resolve(own)
