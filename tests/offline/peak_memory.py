"""Run a command of qtuning and print the peak of the process's own memory.

In bytes, files mapped into memory apart.
"""

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


def peak_of(command):
    PEAK[0] = 0
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=[stop])
    watcher.start()
    code = main(command)
    stop.set()
    watcher.join()
    assert code == 0
    return PEAK[0]


if __name__ == "__main__":
    print(peak_of(sys.argv[1:]))
