"""Tools for instructors: python -m solutions build [--check]."""

import argparse
import sys

from solutions.build import build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m solutions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="write the exercises and the blocks of the book")
    command.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    asked = parser.parse_args()
    different = build(asked.check)
    for path in different:
        print(path, "differs" if asked.check else "written")
    if asked.check and different:
        print("These files are generated: change solutions/, then run python -m solutions build.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
