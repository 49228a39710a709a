"""The command line: options, what each command does, and what it prints.

Imports everything; nothing imports it but `python -m pathpatch`.
"""
