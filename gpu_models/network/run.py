"""A training run: its budget, its records and the files it leaves."""

import io
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpu_models.network.objective import validate
from gpu_models.network.trainer import Preset, Trainer
from gpu_models.network.unet import ARCHITECTURE, VERSION, parameters_of
from gpu_models.network.weights import command_line, save_weights
from steinlab.errors import InputError
from steinlab.storage import read_sealed, write_json, write_sealed

CHECKPOINT = "checkpoint.pt"


@dataclass
class Run:
    """Trains within a budget, with checkpoints.

    Parameters
    ----------
    trainer : Trainer
    preset : Preset
    out : Path
        Receives checkpoint, weights and provenance.
    held_out : tensor (n, C, H, W), uint8
        Test pictures.
    checksums : dict
        Of the data's files.
    held_out_labels : tensor (n,), optional
        Of the test pictures, where the network takes labels.
    steps : int, optional
        The budget; by default the preset's.
    minutes : float, optional
        A budget of wall-clock time in place of steps, compilation and checkpoints counted. Then
        the learning rate follows the clock, and no two runs are the same.
    """

    trainer: Trainer
    preset: Preset
    out: Path
    held_out: torch.Tensor
    checksums: dict[str, str]
    held_out_labels: torch.Tensor | None = None
    steps: int | None = None
    minutes: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    spent: float = 0.0

    @property
    def name(self) -> str:
        """The network's name and that of its files, ``fashion-edm`` or ``fashion-flow``."""
        return f"fashion-{self.trainer.settings.config.objective}"

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        if self.minutes is not None:
            return self.spent / (60 * self.minutes)
        return self.trainer.step / (self.preset.steps if self.steps is None else self.steps)

    def go(self, halt_at: int | None = None) -> None:
        """Train to the end of the budget, validate and save; or stop at a step, as if interrupted.

        Raises
        ------
        FloatingPointError
            If the loss turns non-finite, naming the step.
        """
        group = self.trainer.group
        began, saved = time.monotonic() - self.spent, self.spent
        while self.progress < 1 and self.trainer.step != halt_at:
            loss, steps = self._interval(halt_at)
            before, self.spent = self.spent, group.agree(time.monotonic() - began)
            self._note(loss, steps / max(self.spent - before, 1e-9))
            if self.spent - saved > self.preset.save_every:
                saved = self.spent
                self.save()
        if self.progress >= 1:
            self.validation = self.validated()
        self.save()

    def _interval(self, halt_at: int | None) -> tuple[float, int]:
        """Train until the next record is due; return the mean loss and the number of steps."""
        trainer, losses = self.trainer, []
        while True:
            losses.append(trainer.advance(self.progress))
            if trainer.step % self.preset.log_every == 0 or trainer.step == halt_at:
                break
            if self.minutes is None and self.progress >= 1:
                break
        total = torch.stack(losses).mean()
        trainer.group.add_up([total])
        loss = float(total)
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss is not finite by step {trainer.step}")
        return loss, len(losses)

    def _note(self, loss: float, speed: float) -> None:
        step, batch = self.trainer.step, self.trainer.settings.batch
        self.curve.append({"step": step, "loss": loss, "seconds": round(self.spent, 2)})
        if self.trainer.group.leads:
            print(
                f"step {step}  images {step * batch}  loss {loss:.4f}  "
                f"{speed * batch:.0f} images/s  {self.spent:.0f} s  {self.progress:.0%}",
                flush=True,
            )

    def validated(self) -> list[dict[str, Any]]:
        """Return the averaged network's error on test pictures, and on as many training ones."""
        trainer, count = self.trainer, self.preset.validated
        records: list[dict[str, Any]] = []
        objective, labelled = trainer.objective, trainer.labels is not None
        test = (self.held_out, self.held_out_labels if labelled else None)
        for part, (data, labels) in (("test", test), ("train", (trainer.data, trainer.labels))):
            some, given = data[:count], None if labels is None else labels[:count]
            found = validate(
                trainer.mean, some, self.preset.levels, objective=objective, labels=given
            )
            for level, error, standard in found:
                facts = {"part": part, "pictures": len(some), objective.level: level}
                records.append(facts | {"error": error, "standard_error": standard})
        return records

    def save(self) -> None:
        """Write checkpoint, weights and provenance; only the leader does."""
        trainer = self.trainer
        if not trainer.group.leads:
            return
        state = {**trainer.state(), "curve": self.curve, "spent": self.spent}
        content = io.BytesIO()
        torch.save(state, content)
        write_sealed(self.out / CHECKPOINT, content.getvalue())
        config = asdict(trainer.settings.config)
        weights = self.out / f"{self.name}.safetensors"
        save_weights(weights, trainer.mean.state_dict(), ARCHITECTURE, VERSION, config)
        write_json(self.out / f"{self.name}.json", self.provenance(), indent=1, sort_keys=True)

    def resume(self) -> None:
        """Continue from the checkpoint in ``out``.

        Raises
        ------
        InputError
            If there is none, it cannot be read, or it is of other settings.
        """
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise InputError(f"{path} must exist to resume, found nothing")
        try:
            content, device = io.BytesIO(read_sealed(path)), self.trainer.group.device
            state = torch.load(content, map_location=device, weights_only=True)
            self.curve, self.spent = state["curve"], state["spent"]
        except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
            raise InputError(f"{path} must be a whole checkpoint: {error}") from error
        self.trainer.restore(state)

    def provenance(self) -> dict[str, Any]:
        """Return where the weights come from."""
        trainer = self.trainer
        device = trainer.group.device
        return {
            "name": self.name,
            "architecture": {"name": ARCHITECTURE, "version": VERSION},
            "settings": asdict(trainer.settings),
            "parameters": parameters_of(trainer.net),
            "data": {"name": "Fashion-MNIST, training set", "licence": "MIT"},
            "sha256": self.checksums,
            "augmentation": "none",
            "steps": trainer.step,
            "images": trainer.step * trainer.settings.batch,
            "seconds": round(self.spent, 1),
            "progress": round(min(self.progress, 1.0), 4),
            "processes": trainer.group.size,
            "micro_batch": trainer.micro,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "precision": "bfloat16 autocast" if device.type == "cuda" else "float32",
            "torch": torch.__version__,
            "command": command_line(),
            "loss_curve": self.curve,
            "validation": self.validation,
        }
