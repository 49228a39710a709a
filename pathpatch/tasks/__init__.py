"""The prompts of two tasks, made from templates: indirect object identification, and facts.

Imports the root only. This is the one wing that knows a template.
"""
