"""A pytest decorator: one test per subject and check, as scikit-learn's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steinlab.testing.adapters import as_subject
from steinlab.testing.bench import Bench, Declared
from steinlab.testing.checks import CHECKS, Unit
from steinlab.testing.rows import named


def parametrize_with_checks(
    targets: Sequence[Any],
    *,
    xfail: Mapping[str, str] | None = None,
    seed: int = 0,
    **declared: Any,
) -> Callable[[Callable[..., None]], Any]:
    """Parametrize ``test(check)`` over targets and checks; ``check()`` raises, skips or passes.

    Parameters
    ----------
    targets : sequence
        What :func:`steinlab.testing.check_sampler` takes.
    xfail : mapping, optional
        ``{check: reason}``, strict where a check is named in full.
    seed : int
    **declared
        ``order``, ``evaluations``, ``returns_denoised``, ``ends_at_zero``, ``law``.
    """
    import pytest

    params = []
    for target in targets:
        bench = Bench(as_subject(target), Declared(**declared), seed)
        for check in CHECKS:
            case = _Case(Unit(check, bench), dict(xfail or {}))
            params.append(pytest.param(case, id=f"{bench.subject.name}-{check.id}"))
    return pytest.mark.parametrize("check", params)


class _Case:
    """One check of one subject, in pytest's words."""

    def __init__(self, unit: Unit, xfail: Mapping[str, str]):
        self.unit, self.xfail = unit, xfail

    def __call__(self) -> None:
        import pytest

        row = self.unit()
        reason = next((why for name, why in self.xfail.items() if named(row.check, name)), None)
        if row.verdict == "declined":
            pytest.skip(row.text)
        if row.verdict == "fails" and reason is not None:
            pytest.xfail(reason)
        assert row.verdict == "ok", f"{row.title}: {row.text}" + (
            f"; probable cause: {row.cause}" if row.cause else ""
        )
        assert row.check not in self.xfail, f"{row.check} passes, though expected to fail: {reason}"
