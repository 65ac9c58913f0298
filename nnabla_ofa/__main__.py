"""`python -m nnabla_ofa COMMAND ...`: the same commands as runners/COMMAND.py."""

from __future__ import annotations

import sys

from .commands import COMMANDS, command


def main() -> None:
    """Run the command that the first argument names. Without one: the list of commands, and status 2."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        command(name).run(sys.argv[2:], prog=f"python -m nnabla_ofa {name}")
        return
    width = max(map(len, COMMANDS))
    lines = [f"  {own.ljust(width)}  {text}" for own, text in COMMANDS.items()]
    usage = "\n".join(["usage: python -m nnabla_ofa COMMAND ...   (COMMAND --help: its arguments)", *lines])
    if name in ("-h", "--help"):
        print(usage)
        return
    print(usage, file=sys.stderr)
    print(f"error: there is no command {name!r}" if name else "error: no command is named", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
