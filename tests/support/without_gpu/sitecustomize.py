"""Python's start on a machine with few packages: what HIDDEN_MODULES names cannot be found.

With this folder first in PYTHONPATH, `cupy` is the one beside this file.
"""

import importlib.machinery
import os

HIDDEN = set(os.environ.get("HIDDEN_MODULES", "").split())
_find = importlib.machinery.PathFinder.find_spec


def find_spec(_, name, path=None, target=None):
    return None if name.partition(".")[0] in HIDDEN else _find(name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
