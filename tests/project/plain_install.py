"""Run the commands of a JSON file with packages hidden that a plain install does not have.

``plain_install.py COMMANDS.json NAME...`` prints exit codes and where qtuning is.
"""

import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path


class Plain:
    """Finds everything but what is hidden."""

    hidden = frozenset(sys.argv[2:])

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in cls.hidden
        return None if hidden else PathFinder.find_spec(name, path, target)

    find_distributions = PathFinder.find_distributions


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    sys.meta_path[sys.meta_path.index(PathFinder)] = Plain
    import qtuning
    from qtuning.commands.main import main
    from qtuning.evaluation.local_tasks import local_tasks

    codes = []
    for command in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            codes.append(main(command))
        except SystemExit as end:  # --help
            codes.append(end.code)
    print(json.dumps({"codes": codes, "file": qtuning.__file__, "tasks": list(local_tasks())}))
