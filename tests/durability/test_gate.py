"""The gate takes out what is there: each of its mutants still fits the sources."""

from __future__ import annotations

import pytest

from tests.durability.gate import DATA, MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_changes_its_file(mutant: Mutant) -> None:
    source = (ROOT / DATA / mutant.file).read_text()
    assert mutant.old in source
    assert source.replace(mutant.old, mutant.new) != source
    for name in mutant.tests.split():
        assert (ROOT / name).exists()
