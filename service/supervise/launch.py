"""The last step before a supervised program: drop rights, ask to be ended with the launcher, become the program.

Runs as a script (`python -I -S launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...`) and replaces itself by the
program, so that the process keeps its id and its command line reads like the program's own. It is a script and
no `preexec_fn`, because Python code between fork and exec may deadlock in a process that has threads.

It imports nothing of this project and nothing outside the standard library.
"""

import ctypes
import os
import sys

# <sys/prctl.h>; the request survives exec, but not a change of user: so it comes after that.
PR_SET_PDEATHSIG = 1
CANNOT_RUN = 126


def main(arguments: list[str]) -> int:
    """Become the program; returns an exit code only where that was not possible."""
    parent, death_signal, uid, gid, *program = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if death_signal != "-" and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):  # it died before the request stood
            return 0
    try:
        os.execvp(program[0], program)  # noqa: S606  # no shell is the point
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\n")
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
