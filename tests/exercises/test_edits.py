"""A sample of the small edits of every solution; all of them run in `make audit`."""

import pytest
from mutants.edits import edits_of, outcomes

from exercises.catalogue import Exercise, exercises


@pytest.mark.audit
@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda e: e.id)
def test_no_edit_passes_that_gives_anything_else(exercise: Exercise):
    edits = edits_of(exercise)
    found = list(outcomes(exercise, every=max(1, len(edits) // 4)))
    assert len(found) >= 4
    survivors = [(one.edit.what, one.text) for one in found if one.state == "passes"]
    assert not survivors
