import pytest

from benchmarks import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damage_is_named_or_changes_nothing_that_could_show_it(kind):
    counts, faults = fuzz.fuzz(kind, 30)
    assert faults == []
    assert counts[fuzz.REFUSED] and counts.total() == 30
