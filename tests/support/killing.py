"""A command that is killed at random moments, again and again, until it is let to end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence

FORKS = textwrap.dedent("""
    # Each round is a process of its own that is killed, but the last; libraries are loaded once.
    import os, random, signal, sys, time
    import torch, onnxruntime, onnx, array_api_compat
    import hwsim.cli, hwsim.compress.prune.rounds, hwsim.compress.training.fit
    import hwsim.recipe.run, hwsim.recipe.report
    import rtl.build, rtl.plan.explore
    seed, rounds, most = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    arguments = sys.argv[4:]
    drawn = random.Random(seed)

    def begin():
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                hwsim.cli.main(arguments)
            except SystemExit as ended:
                os._exit(ended.code or 0)
        return child

    killed = 0
    for number in range(rounds):
        child, began = begin(), time.monotonic()
        wait = drawn.uniform(0.05, most)
        while time.monotonic() - began < wait:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.01)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
    _, status = os.waitpid(begin(), 0)
    print(killed, status)
""")


def killed_often(arguments: Sequence[object], *, seed: int, rounds: int, most: float) -> int:
    """Call the command line, killed so often after at most so many seconds; how often it was.

    The last call, which nobody kills, must succeed.
    """
    given = [str(seed), str(rounds), str(most), *map(str, arguments)]
    ended = subprocess.run(
        [sys.executable, "-c", FORKS, *given], check=True, capture_output=True, text=True
    )
    killed, status = map(int, ended.stdout.split())
    assert status == 0, ended.stderr
    return killed
