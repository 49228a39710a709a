"""Where prompts come from: pairs of text and files of your own, and the templates of two tasks
(indirect object identification, and facts).

Imports the root only. This is the one wing that knows a tokenizer's rules or a template.
"""
