"""The old name of :mod:`gpu_models.quality.classifier`, for ``python -m``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("gpu_models.quality.classifier", run_name="__main__", alter_sys=True)
