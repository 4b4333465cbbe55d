"""Registries: names lead to code, wrong ones to a sentence, and listing imports nothing."""

import subprocess
import sys

import pytest

from nas_domains.core.registry import Registry
from tests.core.refusal import refused


@pytest.fixture
def registry():
    made = Registry("thing")
    made.register("fraction", "fractions:Fraction", "a number", domain="b")
    made.register("ordered", "collections:OrderedDict", "a dictionary", domain="a")
    made.register(
        "absent", "no_such_module:x", "needs more", extra="more", needs=("no_such_module",)
    )
    return made


def test_a_name_leads_to_its_object(registry):
    from fractions import Fraction

    assert registry.load("fraction") is Fraction
    assert registry.get("fraction", numerator=1, denominator=2) == Fraction(1, 2)
    assert "fraction" in registry and "frac" not in registry
    assert registry.entry("fraction").summary == "a number"


def test_listing_is_sorted_by_domain_and_name(registry):
    assert [e.name for e in registry] == ["absent", "ordered", "fraction"]


@pytest.mark.parametrize("call", ["entry", "load", "get"])
def test_an_unknown_name_lists_what_there_is(registry, call):
    with refused("thing 'fractoin'", "did you mean 'fraction'", "absent, fraction, ordered"):
        getattr(registry, call)("fractoin")
    with refused("'zzz'", "absent, fraction, ordered") as _:
        getattr(registry, call)("zzz")
    with refused("'x'", "none"):
        getattr(Registry("empty"), call)("x")


def test_an_argument_that_is_not_taken_lists_those_that_are(registry):
    with refused("thing 'fraction'", "'numerater'", "numerator, denominator"):
        registry.get("fraction", numerater=1)


def test_a_missing_extra_is_named_without_importing(registry):
    entry = registry.entry("absent")
    assert entry.missing and not registry.entry("fraction").missing
    for call in (entry.load, lambda: registry.load("absent"), lambda: registry.get("absent")):
        with refused("'absent'", "[more]", "pip install 'nas_domains[more]'"):
            call()


def test_looking_for_an_extra_does_not_import_it(registry, tmp_path, monkeypatch):
    (tmp_path / "explosive_module.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.register("e", "explosive_module:x", "", needs=("explosive_module",))
    assert not registry.entry("e").missing
    assert [e.name for e in registry if e.missing] == ["absent"]
    with pytest.raises(AssertionError, match="imported"):
        registry.load("e")


def test_a_taken_name_is_refused(registry):
    registry.register("fraction", "fractions:Fraction", "the same again")
    with refused("thing 'fraction'", "fractions:Fraction"):
        registry.register("fraction", "decimal:Decimal", "another")
    assert registry.entry("fraction").target == "fractions:Fraction"


def test_every_shipped_entry_loads():
    import nas_domains  # noqa: F401
    from nas_domains.core import registry as shipped

    for one in (shipped.spaces, shipped.strategies, shipped.tasks, shipped.baselines):
        entries = list(one)
        assert entries, one.kind
        for entry in entries:
            assert entry.summary and (entry.missing or callable(entry.load()) or entry.load())


def test_listing_imports_no_torch():
    script = (
        "import sys, nas_domains\n"
        "from nas_domains.core.registry import spaces, tasks\n"
        "assert [e.name for e in spaces] and [e.missing for e in tasks]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
