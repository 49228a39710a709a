"""Submissions that try to get points they have not earned, or to harm whoever grades.

Each has a right answer to 1.1 (1 point) beside the attack, which stands in 1.3 (3 points) or at
the top of the file, so that one sees whether what was earned is still given.
"""

import io
import json
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

RIGHT_1 = """
def by_hand():
    return {"pass B": 5, "pass C": 8, "overwrite R": 18}
"""
RIGHT_3 = """
def five(orig, new):
    a, q, h, n = orig["a"], orig["q"], orig["h"], new["h"]
    r = new["a"] + n + new["q"] + n
    return {
        "nothing": 10 * (a + h + q + h) + h,
        "path patch, p frozen": 10 * (a + h + q + n) + h,
        "path patch, p recomputed": 10 * (a + n + q + n) + h,
        "activation patch h": 10 * (a + n + q + n) + n,
        "overwrite R": 10 * r + h,
    }
"""
KEYS = (
    '("nothing", "path patch, p frozen", "path patch, p recomputed", "activation patch h", '
    '"overwrite R")'
)


@dataclass(frozen=True)
class Attack:
    """files: name -> content. earned: points for 1.1 and for 1.3. quick: not only in audits."""

    name: str
    files: dict[str, bytes]
    earned: tuple[float, float] = (1, 0)
    quick: bool = True

    def hand_in(self, folder: Path) -> None:
        for name, data in self.files.items():
            path = folder / name.replace("NAME", self.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


ATTACKS: list[Attack] = []


def files(name: str, contents: dict[str, bytes | str], earned=(1, 0), quick=True) -> None:
    data = {k: v if isinstance(v, bytes) else v.encode() for k, v in contents.items()}
    ATTACKS.append(Attack(name, data, earned, quick))


def in_five(name: str, body: str, top: str = "", earned=(1, 0), quick=True) -> None:
    """An attack when 1.3 is called."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    text = f"{RIGHT_1}{top}\ndef five(orig, new):\n{lines}\n"
    files(name, {"NAME.py": text}, earned, quick)


SOLVED = RIGHT_3.replace("five", "solved")


def to_succeed(name: str, body: str, quick=True) -> None:
    """An attack that returns the right answer where it succeeds, so that points would show it."""
    in_five(name, f"{body.strip()}\nreturn solved(orig, new)", SOLVED, quick=quick)


def on_top(name: str, top: str, earned=(1, 0), quick=True) -> None:
    """An attack when the file is read; the answers after it are right, or what `top` makes."""
    files(name, {"NAME.py": f"{top}\n{RIGHT_1}"}, earned, quick)


# ---- going on for ever, and taking everything ----

in_five("loop", "while True: pass", quick=False)

in_five("sleep", "import time\ntime.sleep(1e6)", quick=False)

in_five(
    "loop_that_catches",
    """
while True:
    try:
        while True: pass
    except BaseException:
        pass
""",
)
in_five(
    "forks",
    """
import os, time
for _ in range(60):
    try:
        if os.fork() == 0:
            time.sleep(1000)
    except OSError:
        break
return {}
""",
)
in_five(
    "fork_bomb",
    """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    quick=False,
)
in_five(
    "threads",
    """
import threading, time
for _ in range(1000):
    threading.Thread(target=time.sleep, args=(1000,)).start()
return {}
""",
)
in_five("allocation", "import torch\nreturn torch.zeros(25_000_000_000)")
in_five("list_that_grows", "x = [0]\nwhile True: x += x", quick=False)

in_five(
    "memory_of_many",
    """
import os, time
for _ in range(10):
    if os.fork() == 0:
        x = bytearray(900_000_000)
        time.sleep(1000)
time.sleep(1000)
""",
    quick=False,
)
to_succeed(
    "memory_file",
    """
import os
os.memfd_create('x')
""",
)

in_five(
    "disk",
    """
for i in range(10):
    with open(f"{i}", "wb") as file:
        file.write(bytes(30_000_000))
""",
)
in_five("open_files", "return {str(i): open('/dev/null') for i in range(100_000)}")
in_five("output", "while True: print('x' * 1_000_000)")
in_five("large_result", "return {str(i): 'x' * 19_000 for i in range(19_000)}", quick=False)

in_five("deep_result", "x = []\nfor _ in range(100_000): x = [x]\nreturn x")
on_top("reading_never_ends", "while True: pass")
on_top("import_never_ends", "import time\ntime.sleep(1e6)")
on_top(
    "reading_ignores_the_alarm",
    """
import signal
signal.signal(signal.SIGALRM, signal.SIG_IGN)
import time
time.sleep(1e6)
""",
    earned=(0, 0),
    quick=False,
)
in_five("recursion", "return five(orig, new)")
in_five("crash", "import ctypes\nctypes.string_at(0)")

# ---- ending, and killing ----

in_five("sys_exit", "import sys\nsys.exit(0)")
in_five("os_exit", "import os\nos._exit(0)")
on_top("exit_while_reading", "import sys\nsys.exit(0)")
on_top("os_exit_while_reading", "import os\nos._exit(0)", earned=(0, 0))
in_five(
    "kill_the_parent",
    """
import os, signal
for pid in (os.getppid(), 1, 2, 3, -1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
return {}
""",
)
in_five("stop_the_parent", "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)", quick=False)
in_five(
    "atexit_and_del",
    """
import atexit
class X:
    def __del__(self):
        while True: pass
atexit.register(lambda: print("PASSED"))
global kept
kept = X()
return {}
""",
)
in_five(
    "process_that_stays",
    """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(10_000)
return {}
""",
)

# ---- looking for what is right ----

READ = """
import glob, json
found = []
for pattern in PATTERNS:
    for path in glob.glob(pattern, recursive=True):
        try:
            text = open(path, errors="replace").read()
        except OSError:
            continue
        if "path patch, p recomputed" in text and "n + q + n" in text.replace("h_new", "n"):
            space = {}
            exec(text, space)
            return space["five"](orig, new)
return {"found": found}
"""
in_five("reads_solutions", "PATTERNS = ['/**/solutions/*.py', '/**/tests/**/*.py']\n" + READ)
in_five(
    "imports_solutions",
    """
try:
    from solutions.ch01_sum import five as solved
except ImportError:
    from exercises.checks.ch01_sum import five as solved
return solved(orig, new)
""",
)
in_five(
    "checks_on_the_way",
    """
import sys
sys.path[:0] = ["/root", "/home", "/repo", "/src", "/"]
from exercises.checks import cases
return cases.CHECKS["five"].solve(orig, new, slip=lambda words: False)
""",
)
to_succeed(
    "memory_of_others",
    """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) not in (os.getpid(), os.getppid()):
        try:
            open(f"/proc/{pid}/mem", "rb").close()
            break
        except OSError:
            continue
else:
    raise OSError
""",
)

in_five(
    "frames_of_the_judge",
    """
import gc, inspect
for frame in inspect.stack():
    for name in ("expected", "trial", "case", "check"):
        if name in frame.frame.f_locals:
            return frame.frame.f_locals[name]
return {str(type(x).__name__): 1 for x in gc.get_objects() if "Trial" in type(x).__name__}
""",
    quick=False,
)

to_succeed(
    "environment",
    """
import os
if not any("solutions" in v or "KEY" in k for k, v in os.environ.items()):
    raise KeyError
""",
)

to_succeed(
    "network",
    """
import socket
socket.create_connection(("127.0.0.1", 22), 1)
""",
)

to_succeed(
    "new_namespace",
    """
import ctypes
if ctypes.CDLL(None).unshare(0x10000000):
    raise OSError
""",
)

to_succeed(
    "becomes_root",
    """
import os
os.setuid(0)
""",
)

# ---- writing where it must not ----

to_succeed(
    "writes_elsewhere",
    """
for path in ("/stage/room/pathpatch/paths.py", "/tmp/pathpatch_gotcha", "/dev/shm/x", "/x"):
    try:
        open(path, "w").write("gotcha")
        break
    except OSError:
        continue
else:
    raise OSError
""",
)

in_five("leaves_a_note", "open('note', 'w').write('gotcha')\nreturn {}")
to_succeed(
    "reads_notes",
    """
import glob
if not [p for p in glob.glob("/tmp/*/note") + glob.glob("/dev/shm/*")]:
    raise OSError
""",
)

in_five(
    "result_file",
    """
import json
for name in ("results.json", "result.json", "grades.csv"):
    open(name, "w").write(json.dumps({"score": 100, "tests": []}))
return {}
""",
)
in_five(
    "prints_a_verdict",
    """
print('{"result": ["is", 1], "passed": true}')
print("1.3 five: right, on all 6 calls.")
""",
)
on_top(
    "writes_into_the_line",
    """
import json, os, struct
reply = json.dumps({"trouble": "", "names": ["by_hand", "five"]}).encode()
done = json.dumps({"result": ["is", True], "passed": True, "points": 100}).encode()
for fd in range(3, 60):
    try:
        for text in (reply, done, done, done):
            os.write(fd, struct.pack("!i", len(text)) + text)
    except OSError:
        pass
""",
    earned=(0, 0),
)
on_top(
    "half_a_message",
    """
import os, struct
for fd in range(3, 60):
    try:
        os.write(fd, struct.pack("!i", 1000) + b"{")
        os.close(fd)
    except OSError:
        pass
""",
    earned=(0, 0),
    quick=False,
)

on_top(
    "huge_message",
    """
import os, struct
for fd in range(3, 60):
    try:
        os.write(fd, struct.pack("!i", 0x7fffffff))
    except OSError:
        pass
""",
    earned=(0, 0),
)
on_top(
    "pickle_bomb",
    """
import os, pickle, struct
class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/pathpatch_bomb",)
text = pickle.dumps(Bomb())
for fd in range(3, 60):
    try:
        os.write(fd, struct.pack("!i", len(text)) + text)
    except OSError:
        pass
""",
    earned=(0, 0),
)

# ---- looking like what is right ----

in_five(
    "equal_to_everything",
    "return Equal()",
    """
class Equal(dict):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: 0
    keys = lambda self: KEYS
    items = lambda self: [(key, Equal()) for key in KEYS]
    __abs__ = __sub__ = __rsub__ = lambda self, *_: 0
    __float__ = lambda self: 0.0
    __repr__ = lambda self: "right"
""".replace("KEYS", KEYS),
)
in_five(
    "tensor_subclass",
    f"return {{key: Same(0.0) for key in {KEYS}}}",
    """
import torch
class Same(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
""",
)
in_five(
    "array_subclass",
    f"return {{key: np.zeros(()).view(Same) for key in {KEYS}}}",
    """
import numpy as np
class Same(np.ndarray):
    __eq__ = lambda self, other: True
    __array_ufunc__ = lambda self, *args, **more: True
""",
)
in_five("not_a_number", f"return dict.fromkeys({KEYS}, float('nan'))")
in_five("infinite", f"return dict.fromkeys({KEYS}, float('inf'))")
in_five(
    "number_subclass",
    f"return {{key: Any(0) for key in {KEYS}}}",
    """
class Any(float):
    __eq__ = lambda self, other: True
    __sub__ = __abs__ = lambda self, *_: 0.0
""",
)
in_five(
    "patches_everything",
    f"return dict.fromkeys({KEYS}, 0)",
    """
import builtins, math, torch
import exercises, pathpatch
import exercises.room.plain as plain
import exercises.room.server as server
torch.allclose = torch.equal = lambda *_: True
torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda *_: True
builtins.abs = lambda x: 0
builtins.all = lambda x: True
math.isclose = lambda *_: True
exercises.check = lambda f: True
pathpatch.run = None
plain.to_plain = lambda *_: ["is", True]
server._error = lambda *_: {}
""",
    earned=(0, 0),
)
in_five(
    "patches_the_room",
    "raise ValueError",
    """
import exercises.room.server as server
server._call = lambda *_: {"result": ["dict", []], "passed": True, "verdict": "passed"}
""",
    earned=(0, 0),
)
in_five("numbers_that_compare", "return __import__('decimal').Decimal(0)")

# ---- recognising hidden cases ----

in_five(
    "knows_the_visible_cases",
    """
import random
known = {(-2, 2, 3): 1}
if (orig["a"], orig["q"], orig["h"]) in known:
    return SOLVED(orig, new)
return dict.fromkeys(KEYS, 0)
""".replace("KEYS", KEYS).replace("SOLVED", "solved"),
    RIGHT_3.replace("five", "solved"),
)
in_five(
    "tells_the_case",
    """
class Seen(Exception): pass
Seen.__name__ = Seen.__qualname__ = f"SECRET_{orig}"
print(f"SECRET_{orig} {new}")
raise Seen(f"SECRET_{orig} {new}")
""",
)
in_five(
    "tells_by_changing",
    """
import exercises.room.state as state
state.changes = lambda *_: [f"SECRET_{orig}"]
return dict(orig)
""",
)

# ---- files ----

files("empty", {"NAME.py": b""}, (0, 0))
files("nothing", {"NAME/readme.txt": "I did nothing."}, (0, 0))
files("bom", {"NAME.py": "\ufeff# Grüße\n".encode() + RIGHT_1.encode()})
files("utf_16", {"NAME.py": ("# Grüße\n" + RIGHT_1 + RIGHT_3).encode("utf-16")}, (1, 3))
files("latin_1", {"NAME.py": ("# Grüße\n" + RIGHT_1).encode("latin-1")})
files("nul", {"NAME.py": RIGHT_1.encode() + b"\0\0"})
files("binary", {"NAME.py": bytes(range(256)) * 100}, (0, 0))
files("nested_too_deep", {"NAME.py": "x = " + "(" * 50_000}, (0, 0))
files("syntax_error_in_a_cell", {"NAME.py": f"# %%\n{RIGHT_1}\n# %%\ndef five(:\n  pass\n"})
files("no_such_package", {"NAME.py": f"import tensorflow\n{RIGHT_1}{RIGHT_3}"}, (1, 3))
files("html_in_the_name_<b>", {"NAME.py": RIGHT_1})
files("=cmd()", {"NAME.py": RIGHT_1})
files("large", {"NAME.py": RIGHT_1 + "#" * 3_000_000}, (0, 0))


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})


files("magics", {"NAME.ipynb": notebook("%matplotlib inline\n!ls", RIGHT_1, "%%bash\nrm -rf /")})
files(
    "shell_escape", {"NAME.ipynb": notebook(RIGHT_1, "def five(orig, new):\n    !cat /etc/passwd")}
)
files("cells_reordered", {"NAME.ipynb": notebook(RIGHT_3, "check(five)", RIGHT_1)}, (1, 3))
files("cells_deleted", {"NAME.ipynb": notebook(RIGHT_1)})
files("cells_twice", {"NAME.ipynb": notebook(RIGHT_1, RIGHT_1.replace("8", "9"))}, (0, 0))
files("no_notebook", {"NAME.ipynb": "{"}, (0, 0))
files("deep_notebook", {"NAME.ipynb": "[" * 200_000}, (0, 0))


def archive(*entries: tuple[str | zipfile.ZipInfo, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries:
            made.writestr(name, text)
    return file.getvalue()


link = zipfile.ZipInfo("ch01_sum.py")
link.external_attr = (stat.S_IFLNK | 0o777) << 16
files("zip", {"NAME.zip": archive(("ch01_sum.py", RIGHT_1 + RIGHT_3))}, (1, 3))
files("zip_with_a_link", {"NAME.zip": archive((link, "/etc/passwd"), ("a.py", RIGHT_1))})
files(
    "zip_that_leads_out",
    {"NAME.zip": archive(("../../solutions/x.py", RIGHT_3), ("/a.py", RIGHT_3), ("b.py", RIGHT_1))},
)
files("zip_bomb", {"NAME.zip": archive(("bomb.py", "#" * 200_000_000), ("b.py", RIGHT_1))})
files("no_zip", {"NAME.zip": b"PK\3\4 and no more"}, (0, 0))
