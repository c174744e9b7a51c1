"""``python -m toy_models.train NAME [--seed N] [--out FILE]``: train a toy, or retrain it.

Weights go to the cache by the configuration's hash; a run that is interrupted leaves the best
weights there and goes on from where it was when it is started again.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steinlab.errors import InputError, Interrupted, one_of
from steinlab.storage import read_sealed, write_sealed
from toy_models.trained.places import cached_file
from toy_models.trained.presets import PRESETS, Preset

INTERRUPTED = 130


def train(preset: Preset, out: Path | None = None, *, show: bool = False) -> Path:
    """Train a preset, or go on with what an interrupt left, and return the file of its weights.

    Parameters
    ----------
    preset : Preset
    out : Path, optional
        By default in the cache.
    show : bool
        Whether to draw a progress bar on stderr.

    Raises
    ------
    InputError
        If the folder cannot be written.
    Interrupted
        After Ctrl-C, once the best weights so far and the checkpoint are written.
    """
    from toy_models.trained.training import advance, begin, stopped_by_interrupt
    from toy_models.trained.weights import write

    file = out or cached_file(preset)
    checkpoint = file.with_suffix(".checkpoint")
    run = begin(preset, _resumable(checkpoint, preset))
    _save(run.state(), checkpoint)  # refuse early, not at the end
    start, cpu = time.perf_counter(), time.process_time()
    with _Bar(preset, show) as bar, stopped_by_interrupt() as stop:
        advance(run, bar, stop)
    seconds = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    write(file, preset, run.best, _provenance(run, seconds))
    if run.done:
        checkpoint.unlink(missing_ok=True)
        return file
    _save(run.state(), checkpoint)
    raise Interrupted(
        f"stopped after {run.step} of {preset.steps} steps; the best weights, of step "
        f"{run.best_step}, are in {file}; the same command goes on"
    )


def _save(state: dict[str, Any], checkpoint: Path) -> None:
    import torch

    out = io.BytesIO()
    torch.save(state, out)
    write_sealed(checkpoint, out.getvalue())


def _resumable(checkpoint: Path, preset: Preset) -> dict[str, Any] | None:
    """Return the state in a checkpoint; one of another preset, or damaged, is no start."""
    import torch

    if not checkpoint.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(read_sealed(checkpoint)), weights_only=True)
        digest = state["digest"]
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError) as error:
        raise InputError(
            f"checkpoint {checkpoint}: expected one of preset {preset.name}, found a damaged file "
            f"({type(error).__name__}); delete it to start anew"
        ) from None
    if digest != preset.digest:
        raise InputError(
            f"checkpoint {checkpoint}: expected hash {preset.digest}, found {digest}; delete it to "
            "start anew"
        )
    return state


def _provenance(run: Any, seconds: dict[str, float]) -> dict[str, Any]:
    import torch

    from toy_models.trained.data import DATA

    preset: Preset = run.preset
    seed = f" --seed {preset.seed}" if preset.seed else ""
    return {
        "model": preset.name,
        "data": DATA[preset.data].source,
        "retrain": f"python -m toy_models.train {preset.name}{seed}",
        "configuration": asdict(preset),
        "steps": run.step,
        "complete": run.done,
        "best_step": run.best_step,
        "validation_loss": run.best_loss,
        "loss_curve": [[step, round(loss, 6)] for step, loss in run.curve],
        "seconds_of_last_run": {key: round(value, 1) for key, value in seconds.items()},
        "torch": torch.__version__,
    }


class _Bar:
    """A progress bar of rich on stderr, or nothing."""

    def __init__(self, preset: Preset, show: bool):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("held-out loss {task.fields[loss]:.4f}"),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not show)
        self.task = self.bar.add_task(preset.name, total=preset.steps, loss=float("nan"))

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, step: int, loss: float) -> None:
        """Show the steps done and the last validation loss."""
        self.bar.update(self.task, completed=step, loss=loss)


def _arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m toy_models.train", description=__doc__)
    parser.add_argument("name", metavar="NAME", help=", ".join(PRESETS))
    parser.add_argument("--seed", default="0", help="by default 0, that of the packaged weights")
    parser.add_argument("--out", type=Path, help="a .safetensors file; by default in the cache")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for bad input, 130 interrupted."""
    from steinlab.experiments.specs.fields import integer
    from steinlab.storage import MAX_SEED

    given = _arguments(args)
    try:
        preset = PRESETS[one_of("NAME", given.name, PRESETS)]
        number = int(given.seed) if given.seed.isdecimal() else given.seed
        preset = preset.with_seed(integer(number, "--seed", 0, MAX_SEED))
        if given.out is not None and given.out.suffix != ".safetensors":
            raise InputError(f"--out must be a .safetensors file, got {given.out}")
        file = train(preset, given.out, show=True)
    except InputError as error:
        return _say(str(error), 2)
    except Interrupted as error:
        return _say(str(error), INTERRUPTED)
    print(file)
    return 0


def _say(message: str, code: int) -> int:
    print("toy_models.trained.train: " + " ".join(message.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
