"""Train a toy, or retrain it: ``steinlab train NAME [--seed N] [--out FILE]``.

Weights go to the cache by the configuration's hash. An interrupted run leaves the best weights
there and continues when it is started again.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steinlab.cli.output import progress_bar
from steinlab.cli.parser import Parser
from steinlab.errors import InputError, Interrupted, one_of
from steinlab.storage import read_sealed, write_sealed
from toy_models.trained.presets import PRESETS, Preset, cached_file


def train(preset: Preset, out: Path | None = None, *, show: bool = False) -> Path:
    """Train a preset, or go on with what an interrupt left, and return the file of its weights.

    Parameters
    ----------
    preset : Preset
    out : Path, optional
        By default in the cache.
    show : bool
        Whether to report progress on stderr.

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
    with progress_bar(not show) as tell, stopped_by_interrupt() as stop:
        advance(
            run,
            lambda step, loss: tell(
                step / preset.steps, f"{preset.name}, held-out loss {loss:.4f}"
            ),
            stop,
        )
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
        "retrain": f"steinlab train {preset.name}{seed}",
        "configuration": asdict(preset),
        "steps": run.step,
        "complete": run.done,
        "best_step": run.best_step,
        "validation_loss": run.best_loss,
        "loss_curve": [[step, round(loss, 6)] for step, loss in run.curve],
        "seconds_of_last_run": {key: round(value, 1) for key, value in seconds.items()},
        "torch": torch.__version__,
    }


def main(args: Sequence[str]) -> int:
    """Train and print the file of the weights."""
    from steinlab.experiments.specs.fields import integer
    from steinlab.storage import MAX_SEED

    parser = Parser("train", __doc__)
    parser.add_argument("name", metavar="NAME", help=", ".join(PRESETS))
    parser.add_argument("--seed", default="0", help="by default 0, that of the packaged weights")
    parser.add_target("--out", help="a .safetensors file; by default in the cache")
    given = parser.parse_args(args)
    preset = PRESETS[one_of("NAME", given.name, PRESETS)]
    number = int(given.seed) if given.seed.isdecimal() else given.seed
    preset = preset.with_seed(integer(number, "--seed", 0, MAX_SEED))
    if given.out is not None and given.out.suffix != ".safetensors":
        raise InputError(f"--out must be a .safetensors file, got {given.out}")
    print(train(preset, given.out, show=True))
    return 0
