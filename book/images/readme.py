"""The figure of the README: the first sweep of the walk, every head to the logits at END.

Usage: .venv/bin/python book/images/readme.py
"""

from pathlib import Path
from random import Random

from pathpatch import heads, ioi_prompts, load_model, path_sweep
from pathpatch.pictures.plots import save_heat_map

N = 60  # prompts: each template in each order twice

model = load_model("smollm2")
prompts = ioi_prompts(model.tokenizer, N, Random(0))
effects = path_sweep(model, prompts, senders=heads(model, "END"), receivers=["logits@END"])
title = f"SmolLM2, {N} IOI prompts:\npath patching from each head\ndirectly to the logits"
save_heat_map(effects, Path(__file__).with_name("heads_to_logits.png"), title)
print(effects)
