"""A command: what it is called, what it takes, what it does; and how it ends.

A user's error becomes one line and exit status 2, on all ranks of mpirun.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable, NoReturn, Optional, Sequence, Type

from ..errors import OfaError
from ..system import interrupt, requeue
from ..system.comm import Communicator, Single, connect
from ..system.last_line import is_first, past_mpirun
from .options import Options, from_namespace
from .terminal import flush


class Parser(argparse.ArgumentParser):
    """argparse's, but what is wrong with a command line is one line, as every other error."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2; of the ranks of mpirun, which all read the same line, the first says why."""
        time.sleep(0 if is_first() else 5)  # mpirun stops the others meanwhile
        fail(None, f"error: {' '.join(message.split())} (--help lists the arguments)", 2)


@dataclass(frozen=True)
class Command:
    """One command line.

    Args:
        name: As in `python -m nnabla_ofa NAME` and `runners/NAME.py`.
        doc: What it does; the first line is its help.
        options: The frozen values that its arguments become.
        add_arguments: Adds them to a parser.
        main: (options, ranks) -> None.
    """

    name: str
    doc: str
    options: Type[Options]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[Any, Communicator], None]

    def run(self, argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
        """Parse the arguments (default: the process's) and do the work; leaves with a status if it fails."""
        parser = Parser(
            prog=prog, description=self.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_arguments(parser)
        options = from_namespace(self.options, parser.parse_args(argv))
        comm: Optional[Communicator] = None
        try:
            with interrupt.between_functions():
                comm = connect(options.device) if options.device else Single()
                self.main(options, comm)
                sys.stdout.flush()
        except KeyboardInterrupt:
            fail(comm, "interrupted: training and search go on when their command is repeated", 130)
        except requeue.StopRequested as stop:
            fail(comm, f"{stop}: the same command goes on from there", requeue.STATUS)
        except OfaError as error:
            fail(comm, f"error: {error}", 2)
        except BrokenPipeError:  # what read the output has ended, as `| head` does: nobody is left to tell
            for stream in (sys.stdout, sys.stderr):
                flush(stream)
            leave(comm, 128 + signal.SIGPIPE)
        except OSError as error:  # a file or folder that cannot be read or written
            advice = "; choose another place, or change its permissions" * isinstance(error, PermissionError)
            fail(comm, f"error: {error.filename or 'writing'}: {error.strerror or error}{advice}", 2)
        except Exception:  # a defect: show it whole, but do not leave the other ranks waiting
            fail(comm, traceback.format_exc(), 1)


def fail(comm: Optional[Communicator], message: str, status: int) -> NoReturn:
    """Print `message` and leave; under mpirun stop the other ranks, too."""
    if comm is not None:  # ranks that fail alike: the first says so, and stops the others meanwhile
        time.sleep(min(comm.rank, 5))
    with contextlib.suppress(OSError):  # nobody reads it
        print(message, file=sys.stderr, flush=True)
    past_mpirun(message)
    leave(comm, status)


def leave(comm: Optional[Communicator], status: int) -> NoReturn:
    """Leave; under mpirun stop the other ranks, too."""
    if comm is not None and comm.size > 1:
        comm.abort(status)
    sys.exit(status)
