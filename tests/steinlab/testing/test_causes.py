"""Every cause that the kit names, told from coefficients that were formed so, on uneven levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM
from steinlab.testing import causes
from steinlab.testing.methods import Identity, _named, _span
from steinlab.testing.reading import Reading, read, same

SIGMAS = np.array([20.0, 11.0, 7.0, 3.5, 2.6, 1.1, 0.8, 0.35, 0.2, 0.12])
VE = tuple(NoiseLevel(1.0, float(s)) for s in SIGMAS)
ALPHAS = np.linspace(0.3, 0.95, len(SIGMAS))
VP = tuple(NoiseLevel(float(a), float(s * a)) for a, s in zip(ALPHAS, SIGMAS, strict=True))
INNER = range(3, len(SIGMAS) - 3)
"""Steps that are judged: two before and three after are left out."""


def reading_on(levels: Any) -> Any:
    return Reading(tuple(levels), tuple(levels[:-1]), np.eye(len(levels)), 0.0)


def compared(mine: Any, due: Any) -> Any:
    """``ours`` of formulas ``i -> (kappa, weights)``; what stands outside must not count."""
    junk = (9.0, np.array([9.0, 9.0]))
    return [
        (i, tuple(mine(i)), tuple(due(i))) if i in INNER else (i, junk, tuple(due(i)))
        for i in range(len(SIGMAS) - 1)
    ]


def euler(i: int) -> tuple[float, np.ndarray]:
    kappa = SIGMAS[i + 1] / SIGMAS[i]
    return kappa, np.array([1 - kappa])


def test_steps_at_both_ends_are_not_compared() -> None:
    kept = causes._inner(compared(euler, euler))
    assert [i for i, _, _ in kept] == list(INNER)
    holes = [(i, a, None if i == 4 else b) for i, a, b in compared(euler, euler)]
    assert [i for i, _, _ in causes._inner(holes)] == [i for i in INNER if i != 4]


def test_a_step_is_split_into_the_state_and_the_outputs_newest_first() -> None:
    """``after = 0.5 row + 3 D_3 + 4 D_4 - 2 D_2 + 7 D_1`` at the third call, which asks twice."""
    row = np.array([2.0, 1.0, -1.0, 0.0, 0.0])
    after = 0.5 * row + np.array([0.0, 7.0, -2.0, 3.0, 4.0])
    kappa, weights = causes._split(row, after, 2, 2)
    assert kappa == 0.5
    np.testing.assert_allclose(weights, [3.0, 4.0, -2.0, 7.0])
    assert math.isnan(causes._split(np.zeros(3), np.ones(3), 0, 1)[0])


# the state's factor


def scaled(levels: Any, mine: Any, due: Any = euler) -> str:
    return causes._scale(reading_on(levels), compared(mine, due))


@pytest.mark.parametrize("place", [1, -1])
def test_a_slope_over_another_sigma_is_named(place: int) -> None:
    """``x + (sigma' - sigma) (x - D) / sigma[i + place]``, weights to one."""

    def mine(i: int, off: float = 1.0, rest: float = 0.0) -> tuple[float, np.ndarray]:
        share = off * (SIGMAS[i] - SIGMAS[i + 1]) / SIGMAS[i + place]
        return 1 - share, np.array([share + rest])

    name = {1: "sigma[i+1]", -1: "sigma[i-1]"}[place]
    text = f"the slope is (x - D) / {name} where (x - D) / sigma[i] is due"
    assert scaled(VE, mine) == text
    assert scaled(VE, lambda i: mine(i, off=1 + 0.9e-6)) == text
    assert scaled(VE, lambda i: mine(i, off=1 + 1.1e-6)) != text
    assert scaled(VE, lambda i: mine(i, rest=0.9e-6)) == text
    assert scaled(VE, lambda i: mine(i, rest=1.1e-6)) != text
    assert scaled(VP, mine) != text


PAIRS = [(0, 1), (0, -1), (2, 1), (1, -1), (-1, 1), (2, 0), (1, 2), (2, -1)]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_level_in_place_of_another_is_named(a: int, b: int) -> None:
    def mine(i: int, off: float = 1.0) -> tuple[float, np.ndarray]:
        return off * SIGMAS[i + a] / SIGMAS[i + b], np.array([0.1])

    names = {-1: "sigma[i-1]", 0: "sigma[i]", 1: "sigma[i+1]", 2: "sigma[i+2]"}
    text = (
        f"x is scaled by {names[a]} / {names[b]} where sigma[i+1] / sigma[i] is due: one level in "
        "place of another"
    )
    assert scaled(VE, mine) == text
    assert scaled(VE, lambda i: mine(i, off=1 + 0.9e-6)) == text
    assert scaled(VE, lambda i: mine(i, off=1 + 1.2e-6)) != text


def test_a_level_beyond_the_grid_is_no_level() -> None:
    reading = reading_on(VE)
    last = len(SIGMAS) - 1
    assert causes._pair(reading, [(0, SIGMAS[1] / SIGMAS[-1])]) is None
    assert causes._pair(reading, [(last - 1, SIGMAS[0] / SIGMAS[last - 1])]) is None
    assert causes._pair(reading, [(last - 1, SIGMAS[last] / SIGMAS[last - 1])]) == (1, 0)
    assert causes._pair(reading, [(0, 1.0)]) == (0, 0)  # of those nearest to (1, 0)
    assert causes._pair(reading, [(3, 1.0), (4, SIGMAS[5] / SIGMAS[4])]) is None


@pytest.mark.parametrize("factor", [1.01, 0.5, -1.0])
def test_a_constant_factor_of_the_state_is_named(factor: float) -> None:
    def mine(i: int, off: float = 0.0) -> tuple[float, np.ndarray]:
        return factor * euler(i)[0] * (1 + off * (i % 2)), euler(i)[1]

    text = f"x is scaled by {factor:g} times what is due, at every step"
    assert scaled(VP, mine) == text
    assert scaled(VP, lambda i: mine(i, off=0.9e-6)).startswith("x is scaled by")
    assert scaled(VP, lambda i: mine(i, off=1.2e-6)) == ""


def test_a_state_scaled_as_is_due_has_no_cause() -> None:
    assert scaled(VE, euler) == ""
    assert scaled(VE, lambda i: (euler(i)[0] * (1 + 0.9e-6), euler(i)[1])) == ""
    assert scaled(VP, lambda i: (euler(i)[0] * (1 + 1.1e-6), euler(i)[1])) != ""
    assert causes._scale(reading_on(VE), []) == ""


# the outputs' sum


def summed(levels: Any, sums: Any, due: Any = lambda i: euler(i)[1].sum()) -> str:
    """Two weights each, so that it is their sum that counts."""

    def of(one: Any) -> Any:
        return lambda i: (euler(i)[0], np.array([one(i) + 0.3, -0.3]))

    return causes._sum(reading_on(levels), compared(of(sums), of(due)))


def lam(levels: Any, i: int) -> float:
    return float(np.log(levels[i].alpha / levels[i].sigma))


SUMS = [
    (lambda i: 1.3 * (1 - SIGMAS[i + 1] / SIGMAS[i]), VE,
     "the weights sum to 1.3 times what is due, at every step"),
    (lambda i: ALPHAS[i + 1], VP,
     "the outputs are weighed by alpha_next where alpha_next - alpha sigma_next / sigma is due: "
     "the signal in x is counted twice"),
    (lambda i: 1 - SIGMAS[i] / SIGMAS[i - 1], VE,
     "the outputs are weighed by 1 - sigma[i] / sigma[i-1] where 1 - sigma[i+1] / sigma[i] is due:"
     " one level in place of another"),
    (lambda i: 1 - SIGMAS[i + 2] / SIGMAS[i], VE,
     "the outputs are weighed by 1 - sigma[i+2] / sigma[i] where 1 - sigma[i+1] / sigma[i] is due:"
     " one level in place of another"),
    (lambda i: math.expm1(math.log(SIGMAS[i] / SIGMAS[i + 1])), VE,
     "the outputs are weighed by expm1(h), with the sign of h wrong, where 1 - e^-h is due"),
    (lambda i: math.log(SIGMAS[i] / SIGMAS[i + 1]), VE,
     "the outputs are weighed by h itself where 1 - e^-h is due"),
    (lambda i: 0.5 * (1 - (SIGMAS[i + 1] / SIGMAS[i]) ** 2), VE,
     "the outputs are weighed by half of 1 - e^-2h where 1 - e^-h is due"),
    (lambda i: 0.1 + 0.01 * i, VE, ""),
    (lambda i: 0.1 + 0.01 * i, VP, ""),
]  # fmt: skip


@pytest.mark.parametrize(("sums", "levels", "text"), SUMS)
def test_a_wrong_sum_of_the_outputs_is_named(sums: Any, levels: Any, text: str) -> None:
    assert summed(levels, sums) == text
    if text:
        assert summed(levels, lambda i: sums(i) * (1 + 4e-6 * (i % 3))) == ""


def test_a_sum_as_is_due_has_no_cause() -> None:
    due = SUMS[0][0]
    assert summed(VE, lambda i: due(i) * (1 + 0.9e-6), due) == ""
    assert summed(VE, lambda i: due(i) * (1 + 1.1e-6), due).startswith("the weights sum to 1 times")


# the older output


H = -np.diff(np.log(SIGMAS))


def older(share: Any, sign: float = 1.0, third: float = 0.0) -> str:
    """The output before has ``share(i)`` of the weight that is due, of the sum ``-r/2``."""

    def of(factor: Any) -> Any:
        def weights(i: int) -> tuple[float, np.ndarray]:
            q = factor(i) * 0.5 * H[i] / H[i - 1]
            total = 1 - SIGMAS[i + 1] / SIGMAS[i]
            return euler(i)[0], total * np.array([1 + q - third, -q, third])

        return weights

    ours = compared(of(lambda i: sign * share(i)), of(lambda _: 1.0))
    return causes._older(reading_on(VE), ours, "dpmpp-2m")


def ratio(i: int) -> float:
    return float(H[i - 1] / H[i])


OLDER = [
    (lambda i: ratio(i) ** 2, "the step ratio r is upside down"),
    (ratio, "the step ratio is missing: fixed weights as on even steps"),
    (lambda i: 1 / ratio(i), "the step ratio is squared"),
    (
        lambda i: ratio(i) / ((SIGMAS[i - 1] - SIGMAS[i]) / (SIGMAS[i] - SIGMAS[i + 1])),
        "the step ratio is formed in sigma, not in log sigma",
    ),
    (
        lambda i: ratio(i) / (H[i + 1] / H[i]),
        "the step ratio takes the next step's length for the one before",
    ),
]


@pytest.mark.parametrize(("share", "text"), OLDER)
@pytest.mark.parametrize("times", [1.0, 0.5])
def test_a_wrong_step_ratio_is_named(share: Any, text: str, times: float) -> None:
    tail = "" if times == 1 else ", times 0.5"
    assert older(lambda i: times * share(i)) == text + tail
    assert older(lambda i: times * share(i) * (1 + 3e-6 * (i % 2))) == ""


@pytest.mark.parametrize("factor", [1.005, 2.0, -1.0])
def test_a_constant_factor_of_the_step_ratio_is_named(factor: float) -> None:
    text = (
        f"the weight of the output before is {factor:.6g} times that of dpmpp-2m at every step: "
        f"the step ratio r is off by the constant factor {1 / factor:.6g}"
    )
    text += ", or the correction has the wrong sign" if factor < 0 else ""
    assert older(lambda _: factor) == text
    assert older(lambda i: factor * (1 + 0.8e-6 * (i % 2))).startswith(text[:40])
    assert older(lambda i: factor * (1 + 2.5e-6 * (i % 2))) == ""


def test_weights_of_more_outputs_are_not_explained_by_a_ratio() -> None:
    assert older(ratio, third=0.9e-6) != ""
    assert older(ratio, third=4e-5) == ""
    ours = compared(euler, euler)
    assert causes._older(reading_on(VE), ours, "euler") == ""
    assert causes._older(reading_on(VE), [], "euler") == ""


# single steps


def stray(steps: list[str], mine: Any, due: Any) -> str:
    identity = Identity("m", tuple(steps), 0.0, (0.0,) * len(steps), 1e-9)
    ours: Any = [(i, mine, due) for i in range(len(steps))]
    return causes._in_steps(identity, ours)


def test_a_stray_step_is_told_by_its_weights() -> None:
    mine, due = (0.5, np.array([0.3, 0.2, 0.1])), (0.5, np.array([0.3, 0.25, 0.15]))
    tail = "is not m's, whose other steps agree to rounding"
    found = stray(["m", "m", "", "m"], mine, due)
    assert found == (
        f"step 3 {tail}: of the output 1 before 0.2 where 0.25 is due, of the output 2 before 0.1 "
        "where 0.15 is due"
    )
    assert stray(["m", "", "", "m"], mine, due).startswith(f"step 2, 3 {tail}: ")
    found = stray(["m", "m", ""], (0.5, np.array([0.4, 0.25])), (0.6, np.array([0.3, 0.25])))
    assert found == (
        f"the last step {tail}: the weight of D 0.4 where 0.3 is due, x scaled by 0.5 where 0.6 is "
        "due"
    )
    assert stray(["m", "m", ""], mine, None) == f"the last step {tail}"
    assert stray(["m", ""], (0.5, np.ones(1)), (0.6, np.ones(1))) == f"the last step {tail}"
    four = (0.5, np.array([1.0, 2.0, 3.0, 4.0]))
    found = stray(["m", ""], four, (0.5, np.zeros(4)))
    assert "of the output 2 before 3" in found
    assert "of the output 3" not in found


@pytest.mark.parametrize(("side", "shown"), [(0.9, False), (1.1, True)])
def test_weights_differ_from_a_millionth_on(side: float, shown: bool) -> None:
    due = np.array([0.3, 0.25])
    near = due + np.array([0.0, side * 1e-6 * 0.3])
    assert ("of the output 1 before" in stray(["m", ""], (0.5, near), (0.5, due))) == shown
    scaled_ = stray(["m", ""], (0.5 + side * 1e-6, due), (0.5, due))
    assert ("x scaled by" in scaled_) == shown


def test_what_is_known_or_cannot_be_read_has_no_cause() -> None:
    known = Identity("m", ("m", "m"), 0.0, (0.0, 0.0), 1e-9)
    unknown = Identity("m", ("", ""), 0.0, (0.0, 0.0), 1e-9)
    assert causes.explain(None, unknown, EDM) == ""
    assert causes.explain(reading_on(VE), known, EDM) == ""
    assert causes.explain(reading_on(VE), None, EDM) == ""
    unordered = Reading(VE, VE[:1], np.eye(2), 0.0)
    assert causes.explain(unordered, unknown, EDM) == ""


# names


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([3], "3"), ([3, 4], "3, 4"), ([3, 4, 5], "3 to 5"), ([3, 5, 6], "3, 5, 6"), ([1, 3], "1, 3")],
)
def test_numbers_in_a_row_are_a_span(numbers: list[int], text: str) -> None:
    assert _span(numbers) == text


def identity(*steps: str, name: str = "m", distance: float = 0.02) -> Identity:
    return Identity(name, steps, distance, (0.0,) * len(steps), 1e-9)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (("m", "m"), "m"),
        (("e", "m", "m"), "m (e in step 1)"),
        (("e", "e", "m", "e", "n"), "m (e in steps 1, 2, 4, n in step 5)"),
        (("", "m", "m"), "m, but not in step 1"),
        (("m", "", "m", "m", ""), "m, but not in steps 2, 5"),
        (("", "m"), "none known; the nearest is m, 2.0e-02 away"),
        (("", "e", "e"), "none known; the nearest is m, 2.0e-02 away"),
    ],
)
def test_an_identity_says_its_steps(steps: tuple[str, ...], text: str) -> None:
    assert str(identity(*steps)) == text


def test_a_method_is_the_one_that_takes_most_steps_in_full() -> None:
    far, near = 1e-3, 1e-12
    gaps = {
        "a": [{"a": near}, {"a": far}, {"a": far}, {"a": near}],
        "b": [{"b": near}, {"b": near}, {"b": near, "b of 1": near}, {"b": far, "b of 1": near}],
        "c": [{"c": far}, {"c": near}, {"c": near}, {"c": near}],
    }
    found = _named(gaps, 1e-9)
    assert found.name == "b"
    assert found.steps == ("b", "b", "b", "b of 1")
    assert found.gaps == (near, near, near, near)
    assert found.distance == near
    # b and c take three each in full, b four in some order
    del gaps["b"][3]["b of 1"]
    assert _named(gaps, 1e-9).steps == ("b", "b", "b", "a")


def test_where_no_method_takes_a_step_the_nearest_by_its_middle_is_named() -> None:
    """The median of the steps but the first and the last: 2e-3 for a, 1e-3 for b."""
    gaps = {
        "a": [{"a": 1e-4}, {"a": 1e-3}, {"a": 2e-3}, {"a": 3e-3}, {"a": 1e-4}],
        "b": [{"b": 9.0}, {"b": 1e-3}, {"b": 1e-3}, {"b": 5e-3}, {"b": 9.0}],
    }
    found = _named(gaps, 1e-9)
    assert (found.name, found.distance) == ("b", 1e-3)
    assert found.steps == ("", "", "", "", "")
    assert found.gaps == (1e-4, 1e-3, 1e-3, 3e-3, 1e-4)
    few = _named({"a": [{"a": 0.5}, {"a": 0.1}]}, 1e-9)
    assert few.distance == pytest.approx(0.3, rel=1e-6, abs=0)
    at = _named({"a": [{"a": 1e-9}]}, 1e-9)
    assert at.known


# levels


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ((1.0, 2.0 + 1.99e-5), (1.0, 2.0), True),
        ((1.0, 2.0 + 2.02e-5), (1.0, 2.0), False),
        ((1.0 - 1.99e-5, 2.0), (1.0, 2.0), True),
        ((1.0 - 2.02e-5, 2.0), (1.0, 2.0), False),
        ((1.0 - 1.1e-5, 2.0 + 1.1e-5), (1.0, 2.0), False),
        ((1.0, 0.99e-8), (1.0, 0.0), True),
        ((1.0, 1.01e-8), (1.0, 0.0), False),
    ],
)
def test_levels_agree_to_a_float32_table(
    a: tuple[float, float], b: tuple[float, float], alike: bool
) -> None:
    """1e-5 of sigma and of a thousandth of alpha."""
    assert same(NoiseLevel(*a), NoiseLevel(*b)) == alike


def test_the_first_calls_are_the_last_at_their_levels_in_order() -> None:
    asked = [VE[0], VE[0], VE[1], VE[5], VE[2]]

    def reading(levels: Any, asked: Any) -> Reading:
        return Reading(tuple(levels), tuple(asked), np.eye(2), 0.0)

    assert reading(VE[:4], asked).first_calls() == [1, 2, 4]
    assert reading([VE[0], VE[2], VE[1], VE[3]], asked).first_calls() is None
    assert reading(VE[:5], asked).first_calls() is None


@pytest.mark.parametrize(("misfit", "linear"), [(0.99e-6, True), (1.01e-6, False)])
def test_a_reading_is_linear_by_its_misfit(misfit: float, linear: bool) -> None:
    rows = np.array([[1.0, 0.0], [-2.0, 3.0]])
    found = Reading(VE[:2], VE[:1], rows, misfit)
    assert found.linear == linear
    assert found.size == 5.0


def test_a_readings_rows_are_the_coefficients_of_its_run() -> None:
    class Two:
        name = "two"

        def run(self, denoiser: Any, x: Any, levels: Any, **_: Any) -> Any:
            from steinlab.testing.subject import Recorder, Run

            asked = Recorder(denoiser, x.shape)
            a = asked(x, levels[0])
            y = 0.25 * x + 0.5 * a
            b = asked(y, levels[1])
            return Run(2.0 * y - b + 3.0 * a + self.bent * y**3, tuple(asked.calls), "float64")

        bent = 0.0

    subject: Any = Two()
    found = read(subject, VE[:3])
    assert found
    np.testing.assert_allclose(found.rows, [[1, 0, 0], [0.25, 0.5, 0], [0.5, 4.0, -1.0]])
    assert found.asked == VE[:2]
    assert found.misfit < 1e-15
    subject.bent = 1e-3
    bent = read(subject, VE[:3])
    assert bent
    assert not bent.linear
