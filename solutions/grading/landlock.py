"""What a process may do to itself, for good: read only a few folders, and make no socket.

Landlock (Linux 5.13) says which files a process and all that it starts may touch; a filter of
system calls (seccomp) refuses sockets, memory that no limit counts, and other ways out. This file
is read inside the sandbox, before the learner's: it imports nothing but the standard library.
Source: the kernel's Documentation/userspace-api/landlock.rst and seccomp_filter.rst.
"""

import ctypes
import os
import platform
import struct

CREATE, ADD, RESTRICT = 444, 445, 446  # the same on all machines
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a folder
ALL = (1 << 13) - 1  # every right that the first version knows
NETWORK = 3  # bind and connect of TCP: from the fourth version on
SCOPES = 3  # abstract sockets, and signals to processes outside: from the sixth version on
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
# machine -> its name in filters, and the numbers of the calls: socket, ptrace, bpf, keyctl, mount,
# unshare, setns, process_vm_readv, process_vm_writev, userfaultfd, io_uring_setup, pidfd_getfd,
# shmget, msgget, semget, memfd_create
CALLS = {
    "x86_64": (
        0xC000003E,
        (41, 101, 321, 250, 165, 272, 308, 310, 311, 323, 425, 438, 29, 68, 64, 319),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 117, 280, 219, 40, 97, 268, 270, 271, 282, 425, 438, 194, 186, 190, 279),
    ),
}
_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Of Landlock in this kernel; 0 where there is none, or no filter for this machine."""
    known = platform.system() == "Linux" and platform.machine() in CALLS
    return max(0, int(_libc.syscall(CREATE, None, 0, 1))) if known else 0


def confine(readable: list[str], writable: list[str]) -> None:
    """From now on only these folders may be read, and only the second ones written.

    Raises: OSError where the kernel does not do it.
    """
    if not (known := version()):
        raise OSError("this kernel has no Landlock")
    _must(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    rights = ALL | (1 << 13 if known >= 2 else 0) | (1 << 14 if known >= 3 else 0)
    fields = [rights, *([NETWORK] if known >= 4 else []), *([SCOPES] if known >= 6 else [])]
    rules = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _must(_libc.syscall(CREATE, rules, len(rules), 0))
    for folder in readable:
        _allow(ruleset, folder, READ)
    for folder in writable:
        _allow(ruleset, folder, rights)
    _must(_libc.syscall(RESTRICT, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, folder: str, rights: int) -> None:
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(folder):
        rights &= 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14  # what can be said of a file
    _must(_libc.syscall(ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0))
    os.close(place)


def refuse_calls() -> None:
    """From now on the calls of the list fail (EPERM), and those of another kind of machine.

    Does nothing on a machine that is not in the list.
    """
    if platform.machine() not in CALLS:
        return
    _must(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    machine, calls = CALLS[platform.machine()]
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06
    refuse, allow = (give, 0, 0, 0x00050001), (give, 0, 0, 0x7FFF0000)
    steps = [(load, 0, 0, 4), (equal, 1, 0, machine), refuse]
    steps += [(load, 0, 0, 0), (above, 0, 1, 0x40000000), refuse]  # the 32-bit calls of x86-64
    for call in calls:
        steps += [(equal, 0, 1, call), refuse]
    steps.append(allow)
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(program)
    head = struct.pack("HP", len(steps), ctypes.addressof(kept))
    _must(_libc.prctl(SECCOMP, FILTER, head, 0, 0))


def _must(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
