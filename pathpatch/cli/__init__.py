"""Where people come in: the door that every public call goes through, and the command line.

Imports everything; nothing imports it but `pathpatch` itself and `python -m pathpatch`.
"""
