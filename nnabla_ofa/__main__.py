"""`python -m nnabla_ofa COMMAND ...`, and what runners/COMMAND.py call: a command from its first moment.

NNabla takes a second to import, on a cold disk ten. What is here comes before that, so it imports no module
that needs NNabla.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn, Optional, Sequence

from .commands import COMMANDS, command
from .experiment.terminal import flush, prepare_streams
from .system.last_line import is_first, one_of_several, say


def run(name: str, argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    """Be one command; leaves with a status if it fails.

    Args:
        name: Of the command, a key of COMMANDS.
        argv: Its arguments (default: the process's).
        prog: What its help calls it (default: the process's file).
    """
    prepare_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where SIGINT is ignored (nohup)
        signal.signal(signal.SIGINT, leave)
    if one_of_several():
        signal.signal(signal.SIGTERM, leave)  # what mpirun makes of Ctrl-C
    try:
        command(name).run(argv, prog)
    finally:
        flush(sys.stdout)


def leave(number: int, frame: Optional[FrameType]) -> NoReturn:
    """End the process at Ctrl-C before the work, and after it.

    A KeyboardInterrupt would be raised within NNabla's import, which takes it for a missing package, or
    crashes.
    """
    if is_first():
        say("interrupted")
    os._exit(130)


def main() -> None:
    """Run the command that the first argument names; the list of commands and status 2 without one."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        run(name, sys.argv[2:], prog=f"python -m nnabla_ofa {name}")
        return
    prepare_streams()
    if name not in ("-h", "--help"):
        print(f"error: there is no command {name!r}, only {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    width = max(map(len, COMMANDS))
    lines = [f"  {own.ljust(width)}  {text}" for own, text in COMMANDS.items()]
    asked = len(sys.argv) > 1
    print("\n".join(["usage: python -m nnabla_ofa COMMAND ...   (COMMAND --help: its arguments)", *lines]),
          file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)


if __name__ == "__main__":
    main()
