"""Run by test_attacks in a process of its own: opens every path given on stdin, reports error, time and memory."""

from __future__ import annotations

import json
import resource
import sys
import time


def main() -> None:
    """Read `[[name, path], ...]`, the first a good checkpoint that warms the imports; write one report per path."""
    import numpy  # noqa: F401  warm, as are the format files below: imports are no cost of an attack

    from localq.checkpoints import open_checkpoint
    from localq.formats import FORMATS

    assert FORMATS
    reports = []
    for name, path in json.load(sys.stdin):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        try:
            with open_checkpoint(path) as checkpoint:
                for tensor in checkpoint:
                    checkpoint[tensor]
            kinds, message = [], ""
        except BaseException as error:
            kinds, message = [kind.__name__ for kind in type(error).__mro__], str(error)
        seconds = time.process_time() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        reports.append({"name": name, "kinds": kinds, "message": message, "seconds": seconds, "grown_mib": grown})
    json.dump(reports, sys.stdout)


if __name__ == "__main__":
    main()
