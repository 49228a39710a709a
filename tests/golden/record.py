"""Record what SmolLM2 does on IOI: python tests/golden/record.py. Look at the difference in git."""

import json
from pathlib import Path
from random import Random

import numpy as np

from pathpatch import LOGITS, baseline, heads, ioi_prompts, load_model, path_sweep, strongest
from pathpatch.models.weights import fingerprint
from pathpatch.uncertainty import interval

model = load_model("smollm2")
prompts = ioi_prompts(model.tokenizer, 240, Random(0))
golden = {
    "command": "python tests/golden/record.py",
    "model_sha256": fingerprint(model),
    "prompts": len(prompts),
    "tolerance": 0.002,
    "columns": ["mean", "low_95", "high_95"],
}
for name, values in baseline(model, prompts).items():
    low, high = interval(values, np.random.default_rng(0))
    golden[name] = [float(values.mean()), float(low), float(high)]
first = path_sweep(model, prompts[:30], senders=heads(model, "END"), receivers=[LOGITS])
golden["strongest_to_the_logits"] = strongest(first, 3)
text = json.dumps(golden, indent=1)
Path(__file__).with_name("smollm2_ioi.json").write_text(text + "\n", encoding="utf-8")
print(text)
