"""The machines as JSON: nothing is lost."""

import json

import pytest
import torch
from export import export_machine

from pathpatch import PathPatchError
from pathpatch.handmade.build import build, hand_weights
from pathpatch.handmade.ioi_variants import VARIANTS
from pathpatch.handmade.toys import TOYS

DESIGNS = {**VARIANTS, **{f"toy {name}": design for name, design in TOYS.items()}}
REFUSED = {"norm", "grouped"}


def written_out(numbers: list[float]) -> torch.Tensor:
    matrix = torch.zeros(*numbers[:2], dtype=torch.float64)
    for i in range(2, len(numbers), 4):
        row, column, value, length = numbers[i : i + 4]
        for j in range(abs(length)):
            assert matrix[row + j * (length > 0), column + j] == 0  # no place is written twice
            matrix[row + j * (length > 0), column + j] = value
    return matrix


@pytest.mark.parametrize("name", sorted(set(DESIGNS) - REFUSED))
def test_the_weights_come_back_from_json(name: str):
    design = DESIGNS[name]
    machine = json.loads(json.dumps(export_machine(design)))
    weights = {key: w for key, w in hand_weights(design).items() if w.any()}
    assert machine["weights"].keys() == weights.keys()
    for key, weight in weights.items():
        assert torch.equal(written_out(machine["weights"][key]), weight.reshape(len(weight), -1))
    sizes = build(design).cfg
    for key in ("n_layers", "n_heads", "d_head"):
        assert machine[key] == getattr(sizes, key)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_the_figure_cannot_run_is_refused(name: str):
    with pytest.raises(PathPatchError, match="norms or shared keys"):
        export_machine(VARIANTS[name])
