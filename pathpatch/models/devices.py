"""Where a model can be, and in which numbers."""

import torch

from pathpatch.errors import PathPatchError, did_you_mean

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
HALF = (torch.bfloat16, torch.float16)


def check_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """The device, after a number of this dtype was put there and read back.

    device: cpu, cuda, cuda:1, mps, or another that torch knows.

    Raises: PathPatchError for a dtype that is not one of `DTYPES`, and for a device that is not
    here, or cannot hold such numbers (mps has no float64).
    """
    if dtype not in DTYPES.values():
        hint = did_you_mean(str(dtype).removeprefix("torch."), DTYPES)
        raise PathPatchError(f"a model cannot be loaded in {dtype}; {hint}")
    try:
        there = torch.ones(1, dtype=dtype, device=device)
        assert there.item() == 1
        return there.device
    except (RuntimeError, AssertionError, TypeError) as error:
        here = [name for name in ("cpu", "cuda", "mps") if getattr(torch, name).is_available()]
        reason = str(error).splitlines()[0]
        raise PathPatchError(
            f"a model in {dtype} cannot be on the device {str(device)!r} of this machine, which "
            f"has: {', '.join(here)} (torch says: {reason})"
        ) from error
