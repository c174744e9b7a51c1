"""Write galaxy_reference.json: outputs of galaxygrad's own networks, computed by JAX in float64.

Not part of the tests, which read what it wrote. To run it again, in a folder of its own:

    python -m venv jax-venv
    jax-venv/bin/pip install jax equinox einops
    jax-venv/bin/pip install --no-deps galaxygrad==0.2.1
    jax-venv/bin/python make_galaxy_reference.py

The package's architecture file is loaded alone: the package itself looks for its Roman weights
under a name spelt otherwise than the file, and where file names are case sensitive its import
fails.
"""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

TIMES = (0.01, 0.5, 8.0)
NUM_VALUES = 8
SIDES = {
    "eqx_hsc_ScoreNet32.eqx": 32,
    "eqx_hsc_ScoreNet64.eqx": 64,
    "eqx_hsc_LogNet32.eqx": 32,
    "eqx_hsc_LogNet64.eqx": 64,
    "eqx_ZTF_ScoreNet32.eqx": 32,
    "eqx_ZTF_ScoreNet64.eqx": 64,
    "eqx_lsst_ScoreNet60.eqx": 60,
    "eqx_quasar_lens72.eqx": 72,
    "eqx_roman_Scorenet120.eqx": 120,
}


def state(side: int) -> np.ndarray:
    """A state without any symmetry of the square, the same on every machine."""
    k = np.arange(side * side, dtype=np.float64)
    return (3 * np.sin(0.37 * k + 0.002 * k * np.sqrt(k))).reshape(1, side, side)


def main() -> None:
    folder = Path(importlib.util.find_spec("galaxygrad").origin).parent
    spec = importlib.util.spec_from_file_location("architecture", folder / "models_eqx.py")
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    rows = {}
    for file, side in SIDES.items():
        shape, key = (1, side, side), jax.random.PRNGKey(0)
        like = architecture.ScoreNet(shape, 4, 64, 512, 512, 4, 10.0, key=key)
        net = eqx.tree_deserialise_leaves(folder / file, _cast(like, jnp.float32))
        net = _cast(net, jnp.float64)
        places = np.linspace(0, side * side - 1, NUM_VALUES).astype(int)
        outputs = [np.asarray(net(jnp.asarray(state(side)), t)).ravel() for t in TIMES]
        rows[file] = {
            "side": side,
            "places": places.tolist(),
            "values": [out[places].tolist() for out in outputs],
            "norms": [float(np.linalg.norm(out)) for out in outputs],
        }
    packages = ("galaxygrad", "jax", "jaxlib", "equinox", "numpy")
    made = {"by": "make_galaxy_reference.py", **{name: version(name) for name in packages}}
    target = Path(__file__).with_name("galaxy_reference.json")
    target.write_text(json.dumps({"made": made, "times": TIMES, "networks": rows}, indent=1) + "\n")


def _cast(tree: eqx.Module, dtype: type) -> eqx.Module:
    return jax.tree_util.tree_map(lambda a: a.astype(dtype) if eqx.is_array(a) else a, tree)


if __name__ == "__main__":
    main()
