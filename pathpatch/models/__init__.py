"""Where models come from: SmolLM2, any folder or hub name, and small random ones.

The only wing that loads weights or imports `TransformerBridge`. Imports the root and `tasks` (whose
words the random models know).
"""
