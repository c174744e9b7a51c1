"""The old name of :mod:`gpu_models.exact.benchmark`, for ``python -m``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("gpu_models.exact.benchmark", run_name="__main__", alter_sys=True)
