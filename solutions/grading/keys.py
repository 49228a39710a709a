"""The course key: hidden cases nobody can guess, and a variant of 6.3 for each learner.

Nothing is stored but the key. The hand-out and the grader each compute from it what they need.
"""

import hmac
import os
from hashlib import sha256
from pathlib import Path

from pathpatch.errors import PathPatchError

LONG = 16  # characters at least


def read_key(path: Path) -> str:
    """The key in a file. Raises: PathPatchError where there is none, or a short one."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise PathPatchError(f"the course key {path} cannot be read: {error}") from error
    if len(key) < LONG:
        raise PathPatchError(
            f"the course key in {path} has {len(key)} characters; take at least {LONG}, such as "
            "those that python -m solutions key FILE writes"
        )
    return key


def new_key(path: Path) -> str:
    """Write a new key that only this user can read. Raises: PathPatchError where there is one."""
    key = os.urandom(20).hex()
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{key}\n")
    except OSError as error:
        raise PathPatchError(f"no new course key can be written to {path}: {error}") from error
    return key


def seed(key: str, exercise: str, draw: int) -> int:
    """Of the hidden cases of an exercise: the same for the whole class."""
    return int.from_bytes(_mac(key, "cases", exercise, str(draw))[:6])


def variant(key: str, learner: str, exercise: str) -> str:
    """What a learner hands to `planted` in 6.3."""
    return _mac(key, "variant", learner, exercise).hex()[:16]


def _mac(key: str, *parts: str) -> bytes:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(key.encode(), text.encode(), sha256).digest()
