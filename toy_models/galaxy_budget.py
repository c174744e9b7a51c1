"""The old name of :mod:`toy_models.galaxies.error_budget`, for ``python -m``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("toy_models.galaxies.error_budget", run_name="__main__", alter_sys=True)
