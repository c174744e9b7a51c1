"""Run Triton's kernels on the CPU, by its interpreter: a program of ``test_kernels.py``.

It prints, in JSON, the largest error of the moments over the stated bound, by precision. Its
arguments are words of one of :data:`CHANGED` and what stands for them first.
"""

import importlib.util
import itertools
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch


def mend(interpreter: Any, tl: Any) -> None:
    """Give the interpreter what Triton 3.6 lacks: products in bf16, NumPy 2.4's integers."""
    builder, convert = interpreter.InterpreterBuilder, interpreter._convert_float
    dot, patch = builder.create_dot, interpreter._patch_lang_tensor

    def wide(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        data = convert(handle.data, tl.bfloat16, tl.float32, None).view(np.float32)
        return interpreter.TensorHandle(data, tl.float32)

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    builder.create_dot = lambda self, a, b, *rest: dot(self, wide(a), wide(b), *rest)
    interpreter._patch_lang_tensor = patched


CHANGED = ("kernels", "fused", "split")
"""Modules that import one another in this order."""


def changed(old: str, new: str) -> list[Any]:
    """Import the modules with some words changed in one of them."""
    folder, modules, count = Path(tempfile.mkdtemp()), [], 0
    for short in CHANGED:
        name = f"gpu_models.exact.{short}"
        text = Path(str(importlib.util.find_spec(name).origin)).read_text(encoding="utf-8")
        count += text.count(old)
        path = folder / f"{short}.py"
        path.write_text(text.replace(old, new), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        modules.append(module)
    assert count == 1, f"{old!r} stands {count} times in {CHANGED}"
    return modules


def main(old: str = "MARGIN = 30.0", new: str = "MARGIN = 30.0") -> None:
    """Print the largest error over its bound, in one chunk and in three."""
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.language as tl
    from triton.runtime import interpreter

    from analytic import EmpiricalMixture, NoiseLevel
    from gpu_models.exact import denoiser, parts
    from gpu_models.exact.rounding import bounds
    from gpu_models.exact.streaming import second_factor

    sys.path.insert(0, str(Path(__file__).parent))
    from test_exact import excess, posterior, rows, states

    mend(interpreter, tl)
    denoiser.has_triton = parts.has_triton = lambda *_: True
    _, fused, split = changed(old, new)
    fused.SAMPLE = 5  # so that references are moved
    small = {"rows": 64, "cols": 128}
    fused.TILINGS = {name: t._replace(**small) for name, t in fused.TILINGS.items()}
    found = dict.fromkeys((*fused.TILINGS, "tf32x3"), 0.0)
    # the bounds of few rows are close
    cases = ((rows(), 1.0, 700), (rows(), 0.3, 700), (rows(), 0.3, 256), (rows()[:4], 4.0, 16))
    for precision, (data, sigma, columns) in itertools.product(found, cases):
        law, level = EmpiricalMixture(data, 0.1), NoiseLevel(0.9, sigma)
        x = states(data, level)
        spread, mass = posterior(data, 0.1, x, level)
        limit = bounds(law, x, level, precision, spread=spread, mass=mass)
        scaled = denoiser.ScaledEmpirical(
            data,
            0.1,
            precision=precision,
            queries=len(x),
            chunk_bytes=4 * len(x) * columns,
            left_out=0.0,
        )
        atoms = scaled.atoms
        more = second_factor(atoms.factors, atoms.halves, atoms.precision)
        object.__setattr__(scaled, "atoms", replace(atoms, columns=more))
        fuses = precision in fused.TILINGS
        scaled.cache["sweep"] = fused.fused_sweep if fuses else split.split_sweep
        got = scaled.moments(torch.as_tensor(x), level)
        worst = excess(got, law.moments(x, level), limit).max()
        found[precision] = max(found[precision], worst)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
