"""Two hosts on one machine: network namespaces joined by a cable that can be pulled. Needs root and `ip`.

They share files, as hosts with a network file system do, and nothing of the network: mpirun starts
its daemon on the other host through `agent.sh` where it would call ssh, and the ranks talk TCP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

AGENT = Path(__file__).with_name("agent.sh")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
# Open MPI notices a silent host after time + interval * probes seconds; by default after 8 minutes.
KEEPALIVE = {"oob_tcp_keepalive_time": 10, "oob_tcp_keepalive_intvl": 2, "oob_tcp_keepalive_probes": 5}


def unavailable() -> Optional[str]:
    """Why there can be no such hosts here, None where there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "no ip or unshare command (Debian: iproute2, util-linux)"
    made = subprocess.run(["ip", "netns", "add", "ofa-probe"], stderr=subprocess.PIPE, text=True)
    if made.returncode == 0:
        ip("netns", "del", "ofa-probe")
    return f"ip netns add: {made.stderr.strip()}" if made.returncode else None


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Both hosts, gone with all that is in them at the end."""
    try:
        for number in "12":
            ip("netns", "add", f"ofa-{number}")
        ip("link", "add", "cable", "netns", "ofa-1", "type", "veth",
           "peer", "name", "cable", "netns", "ofa-2")
        for number, address in zip("12", ADDRESSES):
            ip("-n", f"ofa-{number}", "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", f"ofa-{number}", "link", "set", "lo", "up")
        mend()
        yield
    finally:
        for number in "12":
            subprocess.run(["ip", "netns", "del", f"ofa-{number}"], stderr=subprocess.DEVNULL)


def mend() -> None:
    """Plug the cable in."""
    for number in "12":
        ip("-n", f"ofa-{number}", "link", "set", "cable", "up")


def cut() -> None:
    """Pull the cable: packets vanish, no connection is closed."""
    ip("-n", "ofa-2", "link", "set", "cable", "down")


def launch(mpirun: List[str], version: int) -> List[str]:
    """`mpirun` and its options, started on the first host for one rank on each."""
    mca, agent = ("--mca", "plm_rsh_agent") if version < 5 else ("--prtemca", "plm_ssh_agent")
    options = [mca, agent, str(AGENT), "--host", ",".join(f"{address}:1" for address in ADDRESSES)]
    for name, value in KEEPALIVE.items():
        options += [mca, name, str(value)]
    return ["ip", "netns", "exec", "ofa-1", "unshare", "--uts", "sh", "-c", 'hostname ofa-1; exec "$@"',
            "sh", *mpirun, *options]
