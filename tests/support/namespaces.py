"""A replica set in which each member has a network of its own, so that cables can be pulled.

Each member lives in a network namespace on a bridge of this machine; nothing leaves it. That takes
root and the commands `ip`, `iptables` and `tc`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from embedded.mongod import ReplicaSet

PORT = 27017
_DELAY = ("netem", "delay", "120ms", "30ms")
_RATE = ("tbf", "rate", "2mbit", "burst", "32kb", "latency", "400ms")
_LOSS = ("-m", "statistic", "--mode", "random", "--probability", "0.1", "-j", "DROP")


def missing() -> str:
    """Return what this machine lacks for network namespaces; nothing if it has all."""
    if os.geteuid():
        return "network namespaces need root"
    if absent := [name for name in ("ip", "iptables", "tc") if not shutil.which(name)]:
        return f"not installed: {', '.join(absent)} (apt-get install iproute2 iptables)"
    name = f"mp{secrets.token_hex(3)}"
    try:
        _do("ip", "netns", "add", name)
        _do("ip", "link", "add", name, "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"network namespaces are forbidden here: {error.stderr.strip()}"
    finally:
        _try("ip", "link", "del", name)
        _try("ip", "netns", "del", name)
    return ""


class NamespacedReplicaSet(ReplicaSet):
    """Members 10.x.y.11 and up, each behind a cable that can be pulled or made bad."""

    def __init__(self, folder: Path | str, members: int = 3, **options: Any):
        self._id = secrets.token_hex(3)
        self._bridge = f"mp{self._id}"
        self._prefix = f"10.{130 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
        addresses = [f"{self._prefix}.{11 + number}" for number in range(members)]
        super().__init__(folder, members, ports=[PORT] * members, addresses=addresses, **options)
        for number, member in enumerate(self.members):
            member.launcher = self._inside(number)

    def start(self) -> Self:
        """Lay the cables and start the members."""
        try:
            self._lay()
            return super().start()
        except BaseException:
            self.stop()
            raise

    def _lay(self) -> None:
        _do("ip", "link", "add", self._bridge, "type", "bridge")
        _do("ip", "address", "add", f"{self._prefix}.1/24", "dev", self._bridge)
        _do("ip", "link", "set", self._bridge, "up")
        for number, member in enumerate(self.members):
            space, cable = self._space(number), self._cable(number)
            _do("ip", "netns", "add", space)
            _do("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _do("ip", "link", "set", cable, "master", self._bridge, "up")
            _do("ip", "-n", space, "address", "add", f"{member.host}/24", "dev", "eth0")
            _do("ip", "-n", space, "link", "set", "eth0", "up")
            _do("ip", "-n", space, "link", "set", "lo", "up")

    def stop(self) -> None:
        """End the members and take the cables away."""
        super().stop()
        for number in range(len(self.members)):
            _try("ip", "link", "del", self._cable(number))
            _try("ip", "netns", "del", self._space(number))
        _try("ip", "link", "del", self._bridge)

    def cut(self, member: int) -> None:
        """Pull a member's cable: nobody reaches it, and nobody is told."""
        _do("ip", "link", "set", self._cable(member), "down")

    def join(self, member: int) -> None:
        """Plug the cable in again."""
        _do("ip", "link", "set", self._cable(member), "up")

    def isolate(self, member: int) -> None:
        """Part a member from the other members; clients still reach it."""
        for other in self._others(member):
            _do("ip", "-n", self._space(member), "route", "add", "blackhole", f"{other}/32")

    def reunite(self, member: int) -> None:
        """Let a member see the others again."""
        for other in self._others(member):
            _try("ip", "-n", self._space(member), "route", "del", "blackhole", f"{other}/32")

    def slow(self) -> str:
        """Make all cables bad; return how.

        Where the kernel can't delay packets, every tenth is lost instead, which TCP answers with
        a pause of 200 ms and more, and all of them are slow.
        """
        how = "120 ms delay"
        for number in range(len(self.members)):
            if not _try("tc", "qdisc", "add", "dev", self._cable(number), "root", *_DELAY):
                how = "10 % of packets lost, 2 Mbit/s"
                _do("tc", "qdisc", "add", "dev", self._cable(number), "root", *_RATE)
                _do(*self._inside(number), "iptables", "-A", "INPUT", *_LOSS)
        return how

    def quick(self) -> None:
        """Make all cables good again."""
        for number in range(len(self.members)):
            _try("tc", "qdisc", "del", "dev", self._cable(number), "root")
            _try(*self._inside(number), "iptables", "-F", "INPUT")

    def _inside(self, member: int) -> list[str]:
        return ["ip", "netns", "exec", self._space(member)]

    def _space(self, member: int) -> str:
        return f"mp{self._id}n{member}"

    def _cable(self, member: int) -> str:
        return f"mp{self._id}v{member}"

    def _others(self, member: int) -> list[str]:
        return [each.host for number, each in enumerate(self.members) if number != member]


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _try(*command: str) -> bool:
    with suppress(subprocess.CalledProcessError):
        _do(*command)
        return True
    return False
