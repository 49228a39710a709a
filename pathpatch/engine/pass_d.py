"""Pass D for many senders at once, on the part of the model that the receivers can change.

Where the logits or the final residual stream receive at END, nothing is left to run.

Book: chapter 5.
"""

from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.scene import Scene, Stored
from pathpatch.engine.suffix import Write, run_suffix
from pathpatch.prompts import END


def pass_d(scene: Scene, stored: Stored) -> Float[Tensor, "sender batch d_model"]:
    """Run what the receivers can change. Returns: the state after the last layer at END."""
    for node, value in stored.items():
        if scene.depth(node) == scene.steps() and node.at == END:
            return value[:, :, 0]  # [sender, batch, place, d_model], and END is its one place
    count, low = len(next(iter(stored.values()))), min(map(scene.depth, stored))
    writes = [Write(node, slice(None), value) for node, value in stored.items()]
    return run_suffix(scene, [low] * count, writes)
