"""The command line: python -m pathpatch, and then a command (`pathpatch.cli`)."""

import sys

from pathpatch.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
