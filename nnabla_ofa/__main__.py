"""`python -m nnabla_ofa COMMAND ...`: the same commands as runners/COMMAND.py."""

from __future__ import annotations

import sys

from .commands import COMMANDS, command


def main() -> None:
    """Run the command that the first argument names; help and status 2 without one."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        command(name).run(sys.argv[2:], prog=f"python -m nnabla_ofa {name}")
        return
    width = max(map(len, COMMANDS))
    lines = [f"  {own.ljust(width)}  {text}" for own, text in COMMANDS.items()]
    usage = "\n".join(["usage: python -m nnabla_ofa COMMAND ...   (COMMAND --help: its arguments)", *lines])
    if name in ("-h", "--help") and len(sys.argv) > 1:
        print(usage)
        return
    print(usage, file=sys.stderr)
    if len(sys.argv) > 1:
        print(f"error: there is no command {name!r}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
