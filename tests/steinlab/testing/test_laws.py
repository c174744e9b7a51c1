"""``check_law``: ours conform, each check rejects its mutant, and a right law is left in peace."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.laws import Box
from steinlab.cli import main
from steinlab.diffusion.laws import OTHER_LAWS, Law
from steinlab.errors import InputError
from steinlab.testing import ConformanceError, check_law
from steinlab.testing.laws import _against
from tests.steinlab.testing.told import held

PLANE = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [1.0, -0.3]], [0.2, 0.4])


class Mine:
    """An exact law with members changed: each is given the right one and its arguments."""

    dim = 2

    def __init__(self, **changed: Callable[..., Any]) -> None:
        self.changed = changed

    def _of(self, name: str, right: Callable[..., Any], *args: Any) -> Any:
        return self.changed[name](right, *args) if name in self.changed else right(*args)

    def __call__(self, x: Any, level: Any) -> Any:
        return self._of("call", PLANE, x, level)

    def sample(self, n: int, rng: Any) -> Any:
        return self._of("sample", PLANE.sample, n, rng)

    def divergence(self, x: Any, level: Any) -> Any:
        return self._of("divergence", PLANE.divergence, x, level)

    def jvp(self, x: Any, level: Any, v: Any) -> Any:
        return self._of("jvp", PLANE.jvp, x, level, v)

    def log_prob(self, x: Any, level: Any) -> Any:
        return self._of("log_prob", PLANE.log_prob, x, level)

    def score(self, x: Any, level: Any) -> Any:
        return self._of("score", PLANE.score, x, level)

    def mean(self) -> Any:
        return self._of("mean", PLANE.mean)

    def second_moment(self) -> Any:
        return self._of("second_moment", PLANE.second_moment)

    def variance(self) -> Any:
        return self._of("variance", PLANE.variance)

    def covariance(self) -> Any:
        from steinlab.metrics import covariance_of

        return self._of("covariance", lambda: covariance_of(PLANE))


def one_level(level: NoiseLevel) -> NoiseLevel:
    return NoiseLevel(*(float(np.ravel(part)[0]) for part in (level.alpha, level.sigma)))


def in_blocks(draw: Any, n: int, rng: Any) -> Any:
    return np.repeat(draw(n // 2, rng), 2, axis=0)


TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])

MUTANTS: dict[str, Mine] = {
    "samples": Mine(sample=lambda f, n, _rng: f(n, np.random.default_rng())),
    "regression": Mine(sample=lambda f, n, rng: 1.05 * f(n, rng)),
    "tweedie": Mine(log_prob=lambda f, x, level: f(x, level) * (1 + 1e-4)),
    "score": Mine(score=lambda f, x, level: 1.001 * f(x, level)),
    "normalised": Mine(log_prob=lambda f, x, level: f(x, level) - 0.1),
    "mean": Mine(mean=lambda f: f() + 0.1),
    "second-moment": Mine(second_moment=lambda f: 1.1 * f()),
    "variance": Mine(variance=lambda f: f() * (1 + 1e-6)),
    "covariance": Mine(covariance=lambda f: 1.1 * f()),
    "zero-noise": Mine(call=lambda f, x, level: f(x, level) + 1e-3),
    "pure-noise": Mine(call=lambda f, x, level: f(x, level) + 1e-6 * (level.alpha == 0)),
    "symmetric": Mine(call=lambda f, x, level: f(x, level) + 1e-4 * x @ TURN),
    "monotone": Mine(call=lambda f, x, level: f(x, level) * (1 - 2 * (level.sigma > 0.9))),
    "divergence": Mine(divergence=lambda f, x, level: 1.001 * f(x, level)),
    "jvp": Mine(jvp=lambda f, x, level, v: 1.001 * f(x, level, v)),
    "dtype": Mine(call=lambda f, x, level: f(x, level).astype(np.float64)),
}


STRANGERS: dict[str, tuple[Mine, str, str]] = {
    "a divergence per coordinate": (
        Mine(divergence=lambda f, x, level: f(x, level) / 2), "divergence", "from central differ",
    ),
    "a divergence of alpha D": (
        Mine(divergence=lambda f, x, level: level.alpha * f(x, level)), "divergence", "central",
    ),
    "a divergence that is no number at little noise": (
        Mine(divergence=lambda f, x, level: f(x, level) * (np.nan if level.ratio < 0.1 else 1)),
        "divergence", "nan from central differences",
    ),
    "a divergence in a column": (
        Mine(divergence=lambda f, x, level: f(x, level)[:, None]),
        "divergence", r"divergence of Mine must return the shape \(6,\), got \(6, 1\)",
    ),
    "a divergence that fails": (
        Mine(divergence=lambda _f, _x, _level: 1 / 0), "divergence", "divergence of Mine must run",
    ),
    "one tangent at a time": (
        Mine(jvp=lambda f, x, level, v: f(x, level, v.reshape(-1, *x.shape))[0]),
        "jvp", r"jvp of Mine must return the shape \(2, 6, 2\), got \(6, 2\)",
    ),
    "a shifted sampler": (Mine(sample=lambda f, n, rng: f(n, rng) + 0.05), "mean", "of the limit"),
    "a sampler with a seed of its own": (
        Mine(sample=lambda f, n, _rng: f(n, np.random.default_rng(0))),
        "samples", "another generator draws the same",
    ),
    "every sample twice": (Mine(sample=in_blocks), "samples", "states depend on others"),
    "a sorted sample": (
        Mine(sample=lambda f, n, rng: np.sort(f(n, rng), axis=0)), "samples", "states depend on",
    ),
    "a mirrored sample": (
        Mine(sample=lambda f, n, rng: np.concatenate([y := f(n // 2, rng), 0.2 - y])),
        "samples", "states depend on others",
    ),
    "a density without its constant": (
        Mine(log_prob=lambda f, x, level: f(x, level) + math.log(2 * math.pi)),
        "normalised", "mean ratio 0.159",
    ),
    "a constant that is right at one level": (
        Mine(log_prob=lambda f, x, level: f(x, level) + 1e-3 * math.log(level.sigma)),
        "levels", "of the tolerance",
    ),
    "a density of x / alpha": (
        Mine(log_prob=lambda f, x, level: f(x, level) + 2 * math.log(level.alpha)),
        "levels", "of the tolerance",
    ),
    "densities in a column": (
        Mine(log_prob=lambda f, x, level: f(x, level)[:, None]),
        "tweedie", r"log_prob of Mine must return the shape \(32,\), got \(32, 1\)",
    ),
    "a score of x / alpha": (
        Mine(score=lambda f, x, level: f(x, level) * level.alpha), "score", "from sigma",
    ),
    "a denoiser of x / alpha": (
        Mine(call=lambda f, x, level: f(x / (level.alpha or 1.0), NoiseLevel(1.0, level.sigma))),
        "regression", "of the limit",
    ),
    "a denoiser in edm coordinates": (
        Mine(call=lambda f, x, level: f(x, NoiseLevel(1.0, min(level.ratio, 1e9)))),
        "tweedie", "of the tolerance",
    ),
    "a denoiser that is no number at little noise": (
        Mine(call=lambda f, x, level: f(x, level) * (np.nan if level.ratio < 0.1 else 1)),
        "regression", "nan of the limit",
    ),
    "the first level for all states": (
        Mine(call=lambda f, x, level: f(x, one_level(level))), "level-per-state", "from one level",
    ),
    "another shape for levels": (
        Mine(call=lambda f, x, level: f(x, level)[: 1 if np.ndim(level.alpha) else None]),
        "level-per-state", r"one level per state must give \(6, 2\), got \(1, 2\)",
    ),
    "a mean of one row": (
        Mine(mean=lambda f: f()[None]), "mean", r"mean of Mine must return the shape \(2,\), got",
    ),
    "a variance per coordinate": (
        Mine(variance=lambda f: np.full(2, f() / 2)), "variance", r"the shape \(\), got \(2,\)",
    ),
    "a diagonal for a covariance": (
        Mine(covariance=lambda f: np.diag(f())), "covariance", r"the shape \(2, 2\), got \(2,\)",
    ),
}  # fmt: skip
"""A stranger's mistakes: the check that finds each, and how it is named."""


@pytest.mark.parametrize("fault", STRANGERS)
def test_a_strangers_mistake_is_found_and_named(fault: str) -> None:
    law, check, text = STRANGERS[fault]
    with pytest.raises(ConformanceError) as caught:
        check_law(law)
    found = {row.check: row.text for row in caught.value.rows if row.verdict == "fails"}
    assert re.search(text, found[check]), found
    held(f"law: {fault}", caught.value.rows)


def test_a_law_may_take_one_level_only() -> None:
    rows = check_law(Mine(call=lambda f, x, s: f(x, NoiseLevel(float(s.alpha), float(s.sigma)))))
    assert {row.check for row in rows if row.verdict == "declined"} == {"level-per-state"}


@pytest.mark.parametrize("check", MUTANTS)
def test_each_check_rejects_its_mutant(check: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_law(MUTANTS[check])
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}
    if check != "samples":  # its mutant draws others each time
        held(f"law mutant: {check}", caught.value.rows)


def test_the_law_that_the_mutants_are_of_conforms() -> None:
    assert {row.verdict for row in check_law(Mine())} == {"ok"}


@pytest.mark.parametrize("name", OTHER_LAWS)
def test_our_laws_conform(name: str) -> None:
    assert isinstance(OTHER_LAWS[name](), Law)
    rows = check_law(name)
    assert {row.verdict for row in rows} <= {"ok", "declined"}
    held(f"law: {name}", rows)


class Bare:
    """What a stranger must bring, and no more."""

    dim = 1

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        return level.alpha * x / (level.alpha**2 + level.sigma**2)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, 1))


def test_what_is_not_offered_is_declined() -> None:
    declined = {row.check for row in check_law(Bare) if row.verdict == "declined"}
    density = {"tweedie", "score", "levels", "normalised"}
    moments = {"mean", "second-moment", "variance", "covariance"}
    assert declined == density | moments | {"symmetric", "divergence", "jvp"}


@pytest.mark.parametrize("law", [Box(np.zeros(2), np.ones(2)), OTHER_LAWS["student-1"]()])
def test_right_laws_raise_no_false_alarm(law: Any) -> None:
    """At 1.25e-6 a check, 40 seeds of 5 sampled checks fail once in 4000 such tests."""
    for seed in range(40):
        assert {row.verdict for row in check_law(law, samples=300, seed=seed)} <= {"ok", "declined"}


def test_the_limit_of_a_sampled_check_is_that_of_its_level() -> None:
    """Scores of right means reach a fixed share of the limit, not all of it, nor a tenth."""
    rng = np.random.default_rng(0)
    shares = [_against(rng.standard_normal((1, 400)), 0.0) for _ in range(400)]
    largest = max(float(found[1].split()[0]) for found in shares if found is not None)
    assert 0.4 < largest < 0.9  # 400 draws reach 3 of 4.85 standard errors


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (3, "law must be a law with dim, got int"),
        (lambda: 1 / 0, "law must be made without arguments, got ZeroDivisionError"),
        ("box-3", "did you mean box-2"),
        (Mine(sample=lambda f, n, rng: f(n, rng)[:, :1]), r"must return the shape \(20000, 2\)"),
    ],
)
def test_what_is_no_law_is_refused_in_a_line(law: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_law(law)
    assert "\n" not in str(error.value)


def test_expected_failures_are_answered() -> None:
    rows = check_law(
        MUTANTS["mean"], xfail={"mean": "known", "variance": "follows", "pure": "too"}, samples=2000
    )
    assert {row.check for row in rows if row.verdict == "expected-failure"} >= {"mean"}


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from analytic.laws import Circle\nlaw = Circle(2.0)\n"
    Path("good.py").write_text(code)
    Path("bad.py").write_text(code + "object.__setattr__(law, 'mean', lambda: law.centre + 1)\n")
    assert main(["check", "good.py:law", "--as", "law", "--json", "rows.json"]) == 0
    assert capsys.readouterr().out.startswith("Circle · a law\n")
    assert json.loads(Path("rows.json").read_text())["kind"] == "law"
    assert main(["check", "bad.py:law", "--as", "law"]) == 1
    assert "FAILS" in capsys.readouterr().out


def test_a_variance_without_moments_is_held_to_the_samples() -> None:
    """As stated for ``E |x|^2 - |E x|^2`` it passes; a fifth more fails, by the samples alone."""

    class Bare2(Bare):
        def __init__(self, variance: float) -> None:
            self.stated = variance

        def variance(self) -> Any:
            return np.float64(self.stated)

    rows = {row.check: row for row in check_law(Bare2(1.0))}
    assert rows["variance"].verdict == "ok"
    with pytest.raises(ConformanceError) as caught:
        check_law(Bare2(1.2))
    assert {row.check for row in caught.value.rows if row.verdict == "fails"} == {"variance"}
