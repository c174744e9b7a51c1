"""The old name of :mod:`steinlab.experiments.tournament`, for ``python -m``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("steinlab.experiments.tournament", run_name="__main__", alter_sys=True)
