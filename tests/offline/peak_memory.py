"""Run a command of qtuning and print the peak of its own memory in bytes, files mapped in apart."""

import re
import sys
import threading
from pathlib import Path

from qtuning.commands.main import main

PEAK = [0]


def watch(stop):
    while not stop.wait(0.02):
        status = Path("/proc/self/status").read_text()
        PEAK[0] = max(PEAK[0], 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1]))


if __name__ == "__main__":
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=[stop])
    watcher.start()
    code = main(sys.argv[1:])
    stop.set()
    watcher.join()
    print(PEAK[0])
    sys.exit(code)
