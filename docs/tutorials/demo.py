"""``make demo``: the main job end to end through the command line, on simulated or on real recordings."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

BUDGET = "100s"  # of training; the whole demo stays under 6 minutes on two cores


def main() -> None:
    """Simulate or take real recordings, train, evaluate, predict twice, check the bundle, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out: Path = parser.parse_args().out
    if out.exists():
        shutil.rmtree(out)
    started = time.monotonic()
    root = os.environ.get("TESSERA_DATA_ROOT")
    if root and (Path(root) / "esc10").is_dir():
        data, fold, recordings, preset = "esc10", "1", Path(root) / "esc10" / "audio", "crnn"
    else:
        data, fold, recordings, preset = str(out / "scenes"), "1", out / "scenes" / "audio", "scenes"
        _run("simulate", "sound-scenes", "--n", "400", "--seed", "1", "--out", data)
    run, found = out / "run", out / "detections"
    training = ("--preset", preset, "--data", data, "--fold", fold, "--budget", BUDGET)
    _run("train", "sound", *training, "--out", str(run))
    _run("bundle", "verify", str(run / "bundle"))
    _run("evaluate", str(run / "bundle"), "--data", data, "--fold", fold)
    for _ in range(2):  # the second time nothing is left to do
        _run("predict", str(run / "bundle"), str(recordings), "--out", str(found))
    _run("report", str(found))
    _say(f"\nDone in {time.monotonic() - started:.0f} s. Open in a browser:")
    _say(f"  {run / 'report.html'}    the training run")
    _say(f"  {found / 'report.html'}    the predictions")


def _run(*arguments: str) -> None:
    _say(f"\n$ tessera {shlex.join(arguments)}")
    command = [sys.executable, "-m", "tessera.core.cli.app", *arguments]
    if (code := subprocess.run(command, check=False).returncode) != 0:
        sys.exit(code)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
