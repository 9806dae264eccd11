"""Lines of code by folder, the longest files, and a failure for any Python file over the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIMIT = 400
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("localq", "tui", "converters", "kernels_metal", "tests", "tools", "benchmarks")


def python_files(root: Path = ROOT) -> list[Path]:
    """Python files git knows or would add, so that caches and environments do not count."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *FOLDERS],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [root / name for name in listed if name.endswith(".py") and (root / name).is_file()]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def main() -> int:
    counts = {path.relative_to(ROOT): lines(path) for path in python_files()}
    for folder in FOLDERS:
        inside = [n for path, n in counts.items() if path.parts[0] == folder]
        print(f"{folder:<14}{len(inside):4} files {sum(inside):6} lines")
    longest = sorted(counts.items(), key=lambda item: -item[1])
    print("longest: " + ", ".join(f"{path} {n}" for path, n in longest[:5]))
    over = [f"{path} has {n} lines" for path, n in longest if n > LIMIT]
    for line in over:
        print(f"over {LIMIT}: {line}; split it where there are two nouns in it")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
