"""A pull killed at random points again and again: it ends with the right bytes, and finished files stay finished."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub.server import Hub, Trouble
from tests.hub.test_pull import SMALL, noise

KILLS = 50
# One warm process forks a child per pull: what is killed is the pull, not Python's start-up.
PARENT = """
import os, sys
from localq.hub.pull import plan_pull, pull
from localq.hub.refs import parse
from localq.hub.selection import Wish
import huggingface_hub.utils, filelock, hashlib, json, importlib.metadata
huggingface_hub.utils.build_hf_headers(); huggingface_hub.utils.get_session()
for line in sys.stdin:
    child = os.fork()
    if not child:
        pull(plan_pull(parse("acme/Killed"), Wish()), workers=3)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_fifty_kills(hub: Hub, tmp_path: Path) -> None:
    files = {f"model-{n:05d}-of-00004.safetensors": noise(700_000 + n, n) for n in range(1, 5)}
    repo = hub.add("acme/Killed", {**SMALL, **files})
    hub.trouble["*"] = Trouble(delay=0.004, piece=6_000)  # about 1.5 MB/s a file
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdin and parent.stdout
    blobs = tmp_path / "hf" / "hub" / "models--acme--Killed" / "blobs"
    rng, killed, again = random.Random(1), 0, []
    code = 1
    while killed < KILLS or code:
        done = {p for p in files if (blobs / repo.etag(p)).exists()}
        before = len(hub.log)
        parent.stdin.write("go\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        if killed < KILLS:
            time.sleep(rng.uniform(0.02, 0.25))
            os.kill(child, signal.SIGKILL)
        code = int(parent.stdout.readline())
        killed += code == -signal.SIGKILL
        again += [entry for entry in hub.log[before:] if entry[0] in done]
        if code == 0 and killed < KILLS:  # finished early: damage nothing, start another model's worth
            for path in (tmp_path / "hf" / "hub" / "models--acme--Killed").glob("*/*"):
                path.unlink() if path.is_file() else None
            (tmp_path / "hf" / "hub" / "models--acme--Killed").rename(tmp_path / f"finished-{killed}")
    parent.stdin.close()
    parent.stdout.close()
    parent.wait()
    snapshot = blobs.parent / "snapshots" / repo.commit
    for path in files:
        assert (snapshot / path).read_bytes() == files[path]
    assert killed == KILLS and not again
    assert not list(blobs.glob("*.incomplete"))


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "localq.cli.main", *args]


def test_ctrl_c_ends_at_once_and_leaves_nothing_half_named(hub: Hub, tmp_path: Path) -> None:
    repo = hub.add("acme/Slow", {**SMALL, "model.safetensors": noise(400_000)})
    hub.trouble["*"] = Trouble(delay=0.05, piece=4_000)
    child = subprocess.Popen(
        _command("pull", "acme/Slow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores Ctrl-C
    )
    blobs = tmp_path / "hf" / "hub" / "models--acme--Slow" / "blobs"
    part = blobs / f"{repo.etag('model.safetensors')}.incomplete"
    until = time.monotonic() + 30
    while time.monotonic() < until and not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130 and not out and "Traceback" not in err, err
    assert time.monotonic() - started < 5
    assert not (blobs.parent / "snapshots").exists() and not (blobs / repo.etag("model.safetensors")).exists()
    hub.trouble.clear()
    again = subprocess.run(_command("pull", "acme/Slow"), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.strip(), "model.safetensors").read_bytes() == repo.files["model.safetensors"]
    assert max(start for path, start, _ in hub.log if path == "model.safetensors") > 0


def test_two_processes_share_one_download(hub: Hub, tmp_path: Path) -> None:
    repo = hub.add("acme/Both", {**SMALL, "model.safetensors": noise(300_000)})
    hub.trouble["*"] = Trouble(delay=0.05, piece=5_000)
    children = [
        subprocess.Popen(_command("pull", "acme/Both"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert Path(out.strip(), "model.safetensors").read_bytes() == repo.files["model.safetensors"]
    assert hub.sent("model.safetensors") == 300_000
