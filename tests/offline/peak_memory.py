"""Run commands of qtuning and print the peak of the process's own memory in each.

``peak_memory.py COMMANDS.json``; in bytes, files mapped into memory apart.
"""

import json
import re
import sys
import threading
from multiprocessing import get_context
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
    # A process for each: what one command leaves to the allocator is no merit of the next.
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        commands = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        print(*pool.map(peak_of, commands, chunksize=1))
