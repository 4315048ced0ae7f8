"""Runs the commands of a JSON file with every socket refused, and prints who was asked for."""

import json
import socket
import sys

asked: list[str] = []


class Refusing(socket.socket):
    """A socket that connects to nobody, but for processes of this machine."""

    def connect(self, address, /) -> None:
        self._refuse(address)
        super().connect(address)

    def connect_ex(self, address, /) -> int:
        self._refuse(address)
        return super().connect_ex(address)

    def _refuse(self, address) -> None:
        if self.family != socket.AF_UNIX:
            asked.append(str(address))
            raise OSError("no network in this test")


def no_name(host, *more, **options):
    """Names are not looked up either."""
    asked.append(str(host))
    raise socket.gaierror("no names in this test")


if __name__ == "__main__":
    socket.socket, socket.getaddrinfo = Refusing, no_name  # before anything else is imported
    from qtuning.commands import main as cli

    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        codes = [cli.main(command) for command in json.load(file)]
    print(json.dumps({"codes": codes, "asked": asked}))
