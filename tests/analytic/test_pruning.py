from __future__ import annotations

import math
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import analytic.mixtures
from analytic import GaussianMixture, NoiseLevel
from analytic.memory import remembering
from analytic.pruning import KEPT, LEAST, Pruning
from tests.analytic.laws import FORMS, mixture

COMPONENTS, DIM, STATES = 240, 6, 100
NARROW = NoiseLevel(0.8, 0.05)


def apart(form: str, left_out: float | None = None, seed: int = 0) -> GaussianMixture:
    """Many components, some apart and some near one another."""
    law = mixture(form, COMPONENTS, DIM, seed)
    return GaussianMixture(law.weights, 2 * law.means, 0.05 * law.covariances, left_out=left_out)


def states(law: GaussianMixture, level: NoiseLevel, count: int = STATES) -> np.ndarray:
    rng = np.random.default_rng(1)
    x = level.noised(law.sample(count, rng), rng.standard_normal((count, law.dim)))
    return np.asarray(x)


def pruning(law: GaussianMixture, level: NoiseLevel, left_out: float, x: Any) -> Pruning:
    parts = (law.log_weights, law.means, law.spectra, law.basis)
    return Pruning.of(parts, (level.alpha, level.sigma), left_out, x)


def exact_logits(law: GaussianMixture, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
    """Logits ``(N, K)`` in 64 bits of mantissa, from offsets: no square is expanded."""
    wide = np.longdouble
    v = wide(level.alpha) ** 2 * law.spectra.astype(wide) + wide(level.sigma) ** 2
    offset = x.astype(wide)[:, None, :] - wide(level.alpha) * law.means.astype(wide)
    if law.basis is not None:
        offset = np.einsum("nki,kij->nkj", offset, law.basis.astype(wide))
    logs = np.log(v).sum(axis=-1) * (law.dim // v.shape[-1])
    with np.errstate(divide="ignore"):
        weights = np.log(law.weights.astype(wide))
    return np.asarray(weights - 0.5 * ((offset**2 / v).sum(axis=-1) + logs))


def probabilities(logits: np.ndarray) -> np.ndarray:
    terms = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(terms / terms.sum(axis=1, keepdims=True))


CASES = st.fixed_dictionaries(
    {
        "form": st.sampled_from(FORMS),
        "components": st.sampled_from([1, 2, 3, 30]),
        "dim": st.integers(1, 5),
        "width": st.sampled_from([1e-24, 1e-6, 0.1, 1e4]),
        "uneven": st.sampled_from([0.01, 0.3, 5.0]),
        "far": st.sampled_from([0.0, 1.0, 1e4]),
        "away": st.sampled_from([0.0, 100.0]),
        "alpha": st.sampled_from([1.0, 0.3, 1e-6]),
        "sigma": st.sampled_from([1e-6, 1e-2, 0.3, 20.0]),
        "single": st.booleans(),
        "left_out": st.sampled_from([0.3, 1e-3, 2.0**-53]),
        "seed": st.integers(0, 999),
    }
)


def drawn(case: dict[str, Any]) -> tuple[GaussianMixture, NoiseLevel, np.ndarray]:
    """A law with extreme weights, some of them 0, widths and states."""
    rng = np.random.default_rng(case["seed"])
    law = mixture(case["form"], case["components"], case["dim"], case["seed"])
    weights = rng.dirichlet(np.full(case["components"], case["uneven"]))
    means = law.means + case["away"]
    # a width of each component's own
    widths = case["width"] * np.exp(rng.standard_normal(case["components"]))
    one = case["form"] == "one"
    given: Any = case["width"] if one else (law.covariances.T * widths).T
    law = GaussianMixture(weights, means, given)
    level = NoiseLevel(case["alpha"], case["sigma"])
    x = states(law, level, 12)
    x[6:] += case["far"] * rng.standard_normal((6, case["dim"]))
    return law, level, x.astype(np.float32 if case["single"] else np.float64)


@given(CASES)
def test_a_logit_is_between_its_bounds(case: dict[str, Any]) -> None:
    law, level, x = drawn(case)
    found = pruning(law, level, case["left_out"], x)
    with np.errstate(all="ignore"):
        upper, sizes = found.bounds(x)
        lower = upper - 2 * sizes @ found.errors.T
    logits = exact_logits(law, x, level)
    known = np.isfinite(upper)
    assert (logits <= upper)[known].all()
    assert (logits >= lower)[known & np.isfinite(lower)].all()
    if not case["single"]:
        assert known.all() or (law.weights == 0).any()


@given(CASES)
def test_what_is_left_out_has_at_most_its_share(case: dict[str, Any]) -> None:
    law, level, x = drawn(case)
    with np.errstate(all="ignore"):
        kept = pruning(law, level, case["left_out"], x).keep(x)
    r = probabilities(exact_logits(law, x, level))
    top = r.argmax(axis=1)[:, None]
    assert np.take_along_axis(kept, top, axis=1).all()
    lost = np.where(kept, 0, r).sum(axis=1)
    np.put_along_axis(r, top, 0.0, axis=1)
    # the second part of the cut: what the states' dtype cannot hold
    least = np.finfo(x.dtype).smallest_normal * np.finfo(x.dtype).eps
    assert (lost <= case["left_out"] * r.sum(axis=1) + law.weights.size * least).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_cut_leaves_little_more_than_counts(form: str) -> None:
    law, left_out = apart(form), 2.0**-53
    x = states(law, NARROW)
    kept = pruning(law, NARROW, left_out, x).keep(x)
    r = probabilities(exact_logits(law, x, NARROW))
    second = np.sort(r, axis=1)[:, -2:-1]
    least = np.maximum(left_out / COMPONENTS * second, 1e-320)
    assert kept.sum() <= 1.01 * (r >= least).sum() + 5
    assert kept.mean() < KEPT[form == "full"]


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, array_api_strict.asarray])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_moves_beyond_rounding(form: str, make: Any, monkeypatch: Any) -> None:
    law, every = apart(form), apart(form, 0.0)
    x = states(law, NARROW)
    tangent = np.random.default_rng(2).standard_normal((2, *x.shape))
    # states in many pieces, and in one; the strict library sets one entry at a time
    for bytes_ in (2**20,) if make is array_api_strict.asarray else (2**20, 2**12):
        monkeypatch.setattr(analytic.mixtures, "CHUNK_BYTES", bytes_)
        assert law._near(make(x), NARROW) is not None
        assert every._near(make(x), NARROW) is None
        for name in ("log_prob", "score", "denoise", "divergence", "posterior_variance"):
            ours, whole = (getattr(one, name)(make(x), NARROW) for one in (law, every))
            assert type(ours) is type(make(x))
            np.testing.assert_allclose(ours, whole, rtol=1e-13, atol=1e-13)
        ours, whole = (one.jvp(make(x), NARROW, make(tangent)) for one in (law, every))
        np.testing.assert_allclose(ours, whole, rtol=0, atol=1e-13 * np.abs(tangent).max())
    x32 = x.astype(np.float32)
    assert law._near(make(x32), NARROW) is not None
    np.testing.assert_allclose(law(make(x32), NARROW), every(make(x32), NARROW), atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 1e-3])
@pytest.mark.parametrize("form", FORMS)
def test_a_large_share_left_out_keeps_the_stated_bound(form: str, share: float) -> None:
    law, every = apart(form, share), apart(form, 0.0)
    level = NoiseLevel(0.8, 0.8 if form == "one" else 0.4)
    x = states(law, level)
    assert law._near(x, level) is not None
    post = every._posterior(x, level)
    r = post.r[..., 0]
    lost = share * (1 - r.max(axis=0))
    reach = np.linalg.norm(post.means - post.denoised, axis=-1).max(axis=0)
    copies = DIM // post.slack.shape[-1]
    within = float((post.slack.sum(axis=-1) * copies).max())
    (ours, divergence, variance), whole = law.moments(x, level), every.moments(x, level)
    moved = np.linalg.norm(ours - whole[0], axis=1)
    assert (moved <= 2 * reach * lost + 1e-13).all()
    assert moved.max() > 1e-12, "the share shows"
    assert (np.abs(variance - whole[2]) <= (within + 5 * reach**2) * lost + 1e-13).all()
    steep = level.alpha / level.sigma**2
    bound = steep * (within + 5 * reach**2) * lost + 1e-12
    assert (np.abs(divergence - whole[1]) <= bound).all()
    gap = every.log_prob(x, level) - law.log_prob(x, level)
    assert (gap >= -1e-12).all()
    assert (gap <= lost / (1 - lost) + 1e-12).all()
    slope = law.jacobian(x, level) - every.jacobian(x, level)
    assert (np.linalg.norm(slope, ord=2, axis=(1, 2)) <= bound).all()


def test_a_second_component_of_any_probability_stays() -> None:
    """The top one's probability is 1 to the last bit; the variance is the second one's alone."""
    law = apart("isotropic")
    means = 10 * law.means
    means[1] = means[0] + 5.6 * np.eye(DIM)[0]
    args = law.weights, means, 1e-30
    x, level = np.repeat(means[:1], 2**10, axis=0), NoiseLevel(1.0, 0.5)
    one, every = GaussianMixture(*args), GaussianMixture(*args, left_out=0.0)
    assert one._near(x, level) is not None
    got, whole = one.moments(x, level)[2], every.moments(x, level)[2]
    assert 1e-27 < whole[0] < 1e-25
    np.testing.assert_allclose(got, whole, rtol=1e-12)


def test_few_components_and_few_states_are_all_solved_for() -> None:
    narrow = NoiseLevel(1.0, 1e-3)
    few = mixture("isotropic", LEAST[0] - 1, DIM)
    assert few._near(states(few, narrow, LEAST[2]), narrow) is None
    law = apart("full")
    assert law._near(states(law, NARROW, 4), NARROW) is None
    assert law._near(states(law, NARROW), NoiseLevel(0.8, 30.0)) is None
    assert law._near(states(law, NARROW)[None], NARROW) is None
    assert mixture("one", 300, 1)._near(np.zeros((1000, 1)), narrow) is None


def test_a_state_that_is_not_a_number_disturbs_no_other() -> None:
    law = apart("diagonal")
    x = states(law, NARROW)
    x[2, 0], x[5, 1] = math.nan, math.inf
    assert pruning(law, NARROW, 1e-3, x[2:3]).keep(x[2:3]).all()
    with np.errstate(invalid="ignore"):
        out, whole = law(x, NARROW), apart("diagonal", 0.0)(x, NARROW)
    np.testing.assert_allclose(out, whole, rtol=1e-13, atol=1e-13)
    assert np.isnan(out[2]).all()


def test_a_law_that_remembers_solves_once() -> None:
    law = apart("full")
    x = states(law, NARROW)
    known = remembering(law)
    denoised, calls = known(x, NARROW), []
    inner = known._posterior._posterior  # type: ignore[attr-defined]
    known._posterior._posterior = lambda *args: calls.append(1) or inner(*args)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(known.moments(x, NARROW)[0], denoised)
    np.testing.assert_array_equal(known.divergence(x, NARROW), law.divergence(x, NARROW))
    assert not calls


def test_a_member_of_a_stack_leaves_out_what_the_stack_does() -> None:
    law = mixture("full", stack=(4,))
    stack = GaussianMixture(law.weights, law.means, law.covariances, left_out=1e-3)
    assert stack.take(1).left_out == 1e-3


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_bad_share_is_named(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^left_out must be in \[0, 1\), got {share}$"):
        GaussianMixture([1.0], [0.0], 1.0, left_out=share)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full"])
def test_bounds_and_errors_are_the_stated_polynomials(form: str) -> None:
    """``e_k`` and ``l_k + e_k`` of the module's docstring, component by component.

    ``F``, the number of monomials, counts what multiplies ``u'A u``, ``u``, and the three errors.
    """
    rng, count, dim, (alpha, sigma) = np.random.default_rng(0), 4, 3, (0.8, 0.5)
    weights, means = rng.dirichlet(np.ones(count)), 3 + rng.normal(size=(count, dim))
    spectra = rng.uniform(0.5, 2.0, (count, 1 if form == "isotropic" else dim))
    basis = np.linalg.qr(rng.normal(size=(count, dim, dim)))[0] if form == "full" else None
    x = rng.normal(size=(5, dim))
    parts = np.log(weights), means, spectra, basis
    found, sizes = Pruning.of(parts, (alpha, sigma), 0.1, x).bounds(x)
    errors = sizes @ Pruning.of(parts, (alpha, sigma), 0.1, x).errors.T
    monomials = {"isotropic": 1, "diagonal": dim, "full": dim * (dim + 1) // 2}[form] + dim + 3
    centre = means.mean(axis=0)
    for k in range(count):
        v = alpha**2 * np.broadcast_to(spectra[k], dim) + sigma**2
        axes = np.eye(dim) if basis is None else basis[k]
        tau = (1 / v).sum() if form == "full" else (1 / v).max()
        own = abs(np.log(weights[k])) + 0.5 * np.abs(np.log(v)).sum()
        reach = alpha * (np.linalg.norm(means[k] - centre) + np.linalg.norm(centre))
        for i, u in enumerate(x - alpha * centre):
            size = tau * (np.linalg.norm(u) + reach) ** 2 / 2 + own
            due = (16 + monomials + 2 * dim) * 2.0**-52 * size
            assert errors[i, k] == pytest.approx(due, rel=1e-12, abs=0)
            away = (x[i] - alpha * means[k]) @ axes
            logit = np.log(weights[k]) - 0.5 * (np.log(v).sum() + (away**2 / v).sum())
            assert abs(found[i, k] - logit - due) <= due
