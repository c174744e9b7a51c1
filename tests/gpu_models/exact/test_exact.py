from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic import EmpiricalMixture, NoiseLevel
from analytic.screening import Screen
from gpu_models.exact import denoiser, streaming
from gpu_models.exact.denoiser import DEAR, SMALLEST, ScaledEmpirical
from gpu_models.exact.rounding import Bounds, bounds
from gpu_models.exact.streaming import FUSED, METHODS, PRECISIONS, Atoms, Narrow, State
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import stein
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.solvers import SOLVERS
from steinlab.solvers.loop import solve

LEVELS = (
    NoiseLevel(1.0, 30.0),
    NoiseLevel(1.0, 1.0),
    NoiseLevel(0.6, 0.8),
    NoiseLevel(1.0, 0.3),
    NoiseLevel(0.9, 0.02),
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def rows(n: int = 700, d: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 3.0 + rng.standard_normal((n, d)) * np.linspace(0.2, 1.0, d)


def states(data: np.ndarray, level: NoiseLevel, count: int = 40, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, data.shape[1]))
    return level.alpha * data[rng.integers(len(data), size=count)] + level.sigma * noise


def posterior(
    data: np.ndarray, b: float, x: np.ndarray, level: NoiseLevel
) -> tuple[np.ndarray, np.ndarray]:
    """The spread of the rows and the probability of all but the top one, from the definition."""
    v = (level.alpha * b) ** 2 + level.sigma**2
    squares = ((x[:, None] - level.alpha * data) ** 2).sum(-1)
    weights = np.exp(-(squares - squares.min(1, keepdims=True)) / (2 * v))
    probability = weights / weights.sum(1, keepdims=True)
    top = data[squares.argmin(1)]
    away = data - top[:, None]
    shift = np.einsum("qi,qid->qd", probability, away)
    spread = np.einsum("qi,qid->q", probability, away**2) - (shift**2).sum(1)
    rest = np.where(squares == squares.min(1, keepdims=True), 0.0, probability)
    return np.maximum(spread, 0.0), rest.sum(1)


def excess(got: Any, expected: Any, limit: Bounds) -> np.ndarray:
    """Largest error of ``D``, ``div D`` and ``V`` over its bound."""
    off = [np.abs(np.asarray(a) - np.asarray(e)) for a, e in zip(got, expected, strict=True)]
    off[0] = np.linalg.norm(off[0], axis=-1)
    limits = (limit.denoised, limit.divergence, limit.variance)
    return np.array([float((a / b).max()) for a, b in zip(off, limits, strict=True)])


@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("bandwidth", [0.0, 0.1])
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_moments_are_those_of_analytic_within_the_stated_error(
    precision: str, bandwidth: float, level: NoiseLevel
) -> None:
    data = rows()
    x = states(data, level)
    law = EmpiricalMixture(data, bandwidth)
    spread, mass = posterior(data, bandwidth, x, level)
    limit = bounds(law, x, level, precision, spread=spread, mass=mass)
    scaled = ScaledEmpirical(data, bandwidth, precision=precision, queries=17, chunk_bytes=17 * 800)
    got = scaled.moments(torch.as_tensor(x), level)
    assert got.denoised.dtype == torch.float64
    assert excess(got, law.moments(x, level), limit).max() < 1


@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bf16"])
def test_a_term_lost_exceeds_the_stated_error(
    precision: str,
) -> None:
    # the former top row does not join the rest when a later chunk holds a nearer one
    data, level = rows(), NoiseLevel(1.0, 0.5)
    x = states(data, level)
    law = EmpiricalMixture(data)
    spread, mass = posterior(data, 0.0, x, level)
    limit = bounds(law, x, level, precision, spread=spread, mass=mass)

    def forgetful(state: State, *args: Any) -> None:
        state.top_logit.sub_(torch.where(state.top_logit > -torch.inf, 0.5, 0.0))
        streaming.fold_plain(state, *args)

    scaled = ScaledEmpirical(data, precision=precision, chunk_bytes=4096 * 4 * 64)
    scaled.cache["sweep"] = partial(streaming.sweep, fold=forgetful)
    assert excess(scaled.moments(x, level), law.moments(x, level), limit).max() > 1


def test_a_posterior_of_nearly_one_row_keeps_its_digits() -> None:
    data = rows(300, 3)
    law, level = EmpiricalMixture(data), NoiseLevel(1.0, 0.02)
    x = data[:50] + 1e-3
    expected = law.moments(x, level)[2]
    tiny = (expected < 1e-9) & (expected > 1e-25)
    assert tiny.sum() > 10
    for precision, tolerance in (("float64", 1e-9), ("float32", 0.05)):
        scaled = ScaledEmpirical(data, precision=precision, chunk_bytes=4096 * 8 * 64)
        got = scaled.posterior_variance(x, level)
        np.testing.assert_allclose(got[tiny], expected[tiny], rtol=tolerance)


def test_chunks_and_blocks_change_nothing_but_rounding() -> None:
    data, level = rows(1000), NoiseLevel(1.0, 0.5)
    x = states(data, level, 100)
    whole = ScaledEmpirical(data, precision="float64", chunk_bytes=2**30).moments(x, level)
    for queries, columns in ((100, 64), (7, 128), (33, 999)):
        parts = ScaledEmpirical(
            data, precision="float64", queries=queries, chunk_bytes=8 * queries * columns
        )
        for a, b in zip(parts.moments(x, level), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_products_with_the_jacobian_are_those_of_analytic() -> None:
    data, level = rows(400, 6), NoiseLevel(0.9, 0.5)
    law = EmpiricalMixture(data, 0.05)
    scaled = ScaledEmpirical(data, 0.05, precision="float64", queries=9, chunk_bytes=9 * 8 * 70)
    x = states(data, level, 20)
    tangent = np.random.default_rng(3).standard_normal((2, 20, 6))
    np.testing.assert_allclose(
        scaled.jvp(x, level, tangent), law.jvp(x, level, tangent), rtol=1e-10, atol=1e-12
    )
    one = scaled.vjp(torch.as_tensor(x[0]), level, torch.as_tensor(tangent[0, 0]))
    np.testing.assert_allclose(one, law.jvp(x[0], level, tangent[0, 0]), rtol=1e-10, atol=1e-12)


def test_shapes_and_libraries_come_back_as_they_went_in() -> None:
    scaled = ScaledEmpirical(rows(50, 4))
    level = NoiseLevel(1.0, 1.0)
    for shape in ((4,), (3, 4), (2, 3, 4), (0, 4)):
        for x in (np.ones(shape), np.ones(shape, np.float32), torch.ones(shape)):
            out = scaled.moments(x, level)
            assert type(out.denoised) is type(x)
            assert out.denoised.dtype == x.dtype
            assert tuple(out.denoised.shape) == shape
            assert tuple(out.divergence.shape) == shape[:-1]


def test_sums_in_double_serve_states_in_single_precision() -> None:
    """No digit of theirs is lost on the way: their own rounding, once, is all that remains."""
    data = rows() + 1000.0
    x = states(data, LEVELS[1]).astype(np.float32)
    found = ScaledEmpirical(data, precision="float64").moments(x, LEVELS[1])
    exact = EmpiricalMixture(data).moments(x.astype(np.float64), LEVELS[1])
    for ours, whole in zip(found[::-1], exact[::-1], strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, whole, rtol=1.001 * 2.0**-24)


def test_a_state_just_denoised_has_its_divergence_for_nothing() -> None:
    scaled, level = ScaledEmpirical(rows(50, 4)), NoiseLevel(1.0, 1.0)
    passes = []
    sweep = scaled.cache["sweep"]
    scaled.cache["sweep"] = lambda *a: (passes.append(1), sweep(*a))[1]
    x = torch.ones((3, 4), dtype=torch.float64)
    scaled(x, level)
    before = scaled.divergence(x, level)
    assert len(passes) == 1
    x.mul_(1.1)
    assert not torch.equal(scaled.divergence(x, level), before)
    scaled.divergence(x, NoiseLevel(1.0, 2.0))
    assert len(passes) == 3


@pytest.mark.parametrize("name", ["dpmpp-2m", "heun"])
def test_solvers_and_corrections_run_on_it_unchanged(name: str) -> None:
    data = rows(200, 5)
    grid = given_grid(EDM, (20.0, 8.0, 3.0, 1.0, 0.3, 0.1))
    x = 20.0 * torch.as_tensor(np.random.default_rng(0).standard_normal((30, 5)))
    correction = stein(divergence=None if name == "dpmpp-2m" else Hutchinson(mode="jvp"))
    ends = [
        solve(law, x, grid, SOLVERS[name], correction=correction)
        for law in (EmpiricalMixture(data), ScaledEmpirical(data, precision="float64"))
    ]
    torch.testing.assert_close(ends[0].state, ends[1].state, rtol=1e-9, atol=1e-9)
    gammas = [[d.gamma for d in end.diagnostics] for end in ends]
    np.testing.assert_allclose(gammas[0], gammas[1], rtol=1e-8)


def test_running_out_of_memory_halves_the_chunk() -> None:
    data, level = rows(600), NoiseLevel(1.0, 1.0)
    x = states(data, level, 300)
    tried: list[tuple[int, int]] = []

    def small(
        u: torch.Tensor, bias: torch.Tensor, atoms: Atoms, columns: int, cut: float | None
    ) -> State:
        tried.append((len(u), columns))
        if len(u) * columns > 200 * 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nMore.")
        return streaming.sweep(u, bias, atoms, columns, fold=streaming.fold_plain)

    scaled = ScaledEmpirical(data, precision="float64", queries=256)
    scaled.cache["sweep"] = small
    got = scaled(x, level)
    np.testing.assert_allclose(got, EmpiricalMixture(data)(x, level), rtol=1e-12)
    assert tried[0] == (256, 600)
    assert tried[-1][0] * tried[-1][1] <= 200 * 100
    tried.clear()
    scaled(x + 1, level)
    assert max(a * b for a, b in tried) <= 200 * 100


def test_memory_that_never_suffices_is_one_line() -> None:
    def never(*args: Any) -> State:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nMore.")

    scaled = ScaledEmpirical(rows(600))
    scaled.cache["sweep"] = never
    with pytest.raises(InputError, match=rf"device must have memory for {SMALLEST} states") as info:
        scaled(rows(3), NoiseLevel(1.0, 1.0))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp32"}, "precision must be one of float64, float32, tf32x3, tf32, bf16"),
        ({"method": "cuda"}, "method must be one of auto, plain, folded, fused"),
        ({"method": "folded"}, "method must be plain without CUDA and Triton, got folded"),
        ({"queries": 0}, "queries must be > 0, got 0"),
        ({"device_rows": 0}, "device_rows must be > 0, got 0"),
        ({"left_out": 1.0}, r"left_out must be in \[0, 1\), got 1.0"),
        ({"chunk_bytes": -1}, "chunk_bytes must be > 0, got -1"),
        ({"bandwidth": -1.0}, "bandwidth must be finite and >= 0, got -1.0"),
        ({"data": np.ones(3)}, r"data must have shape \(n, d\)"),
        ({"data": np.full((2, 2), np.nan)}, "data must be finite"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScaledEmpirical(**{"data": rows(10), **changes})


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(InputError, match="device must be one that torch sees, got cuda"):
        ScaledEmpirical(rows(10), device="cuda")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_a_state_that_is_not_a_number_stays_so(device: str) -> None:
    data, level = rows(100, 4), NoiseLevel(1.0, 0.5)
    x = states(data, level, 3)
    x[1, 0] = np.nan
    for precision in PRECISIONS:
        out = ScaledEmpirical(data, precision=precision, device=device).moments(x, level)
        assert np.isnan(out.denoised[1]).all()
        assert np.isnan(out.divergence[1])
        assert np.isfinite(out.denoised[[0, 2]]).all()


@needs_cuda
@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_the_device_gives_the_same_numbers(precision: str, level: NoiseLevel, method: str) -> None:
    serves = {"fused": precision in FUSED, "split": precision == "tf32x3"}
    if not serves.get(method, precision != "tf32x3"):
        with pytest.raises(InputError, match=r"^method must "):
            ScaledEmpirical(rows(10, 96), precision=precision, device="cuda", method=method)
        return
    data = rows(5000, 96)
    x = states(data, level, 300)
    law = EmpiricalMixture(data)
    parts = [posterior(data, 0.0, part[None], level) for part in x]
    spread, mass = (np.concatenate(each) for each in zip(*parts, strict=True))
    limit = bounds(law, x, level, precision, spread=spread, mass=mass)
    scaled = ScaledEmpirical(
        data, precision=precision, device="cuda", method=method, chunk_bytes=300 * 4 * 1000
    )
    got = [out.cpu() for out in scaled.moments(torch.as_tensor(x), level)]
    assert excess(got, law.moments(x, level), limit).max() < 1


def pictures(n: int = 4200, d: int = 130, seed: int = 0) -> np.ndarray:
    """Rows of few directions and a little of all, large enough for rows to be left out."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((n, 12)) @ rng.standard_normal((12, d))
    return np.asarray(2.0 + few + 0.3 * rng.standard_normal((n, d)))


@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("sigma", [3.0, 1.0, 0.3, 0.02])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_rows_left_out_move_nothing_beyond_the_bound(
    precision: str, sigma: float, device: str
) -> None:
    data, level = pictures(), NoiseLevel(1.0, sigma)
    x = states(data, level, 20)
    law = EmpiricalMixture(data, left_out=0.0)
    spread, mass = posterior(data, 0.0, x, level)
    scaled = ScaledEmpirical(data, precision=precision, device=device, chunk_bytes=2**20)
    limit = bounds(law, x, level, precision, spread=spread, mass=mass)
    assert excess(scaled.moments(x, level), law.moments(x, level), limit).max() < 1
    used = sum(
        len(atoms.halves)
        for atoms in scaled.posterior(torch.as_tensor(x, device=device), level).shares()
    )
    dear = device == "cpu" or precision in DEAR
    assert (used < len(data) / 4) == (sigma < 2 and dear)
    whole = ScaledEmpirical(data, precision=precision, device=device, left_out=0.0)
    tangent = np.random.default_rng(3).standard_normal(x.shape)
    got, expected = scaled.jvp(x, level, tangent), whole.jvp(x, level, tangent)
    unit = PRECISIONS[precision].unit if precision != "bf16" else 2.0**-11
    size = 256 * (1 + 1 / sigma**2) * np.abs(expected).max()
    assert np.abs(got - expected).max() <= unit * size + unit


@needs_cuda
@pytest.mark.parametrize("sigma", [1.0, 0.3, 0.02])
def test_the_kernel_finds_the_rows_that_plain_operations_find(sigma: float) -> None:
    data, level = pictures(4321), NoiseLevel(0.8, sigma)
    x = torch.as_tensor(states(data, level, 300), dtype=torch.float32, device="cuda")
    scaled = ScaledEmpirical(data, precision="tf32", device="cuda")
    u = x - level.alpha * scaled.atoms.centre
    screen = scaled._screen(u, scaled.law.gains(level))
    found = scaled._near(screen, u).cpu().numpy()
    squares = torch.cdist(x.double().cpu(), level.alpha * torch.as_tensor(data)).numpy() ** 2
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * level.sigma**2))
    others = weights.sum(axis=1, keepdims=True) - 1
    counts = (weights > 2.0**-23 * np.maximum(others, 1e-30)).any(axis=0)
    assert np.isin(np.flatnonzero(counts), found).all()
    plain = ~screen.low(u).all(dim=0).cpu().numpy()
    assert len(found) < 1.5 * plain.sum() + 100
    u[7, 3] = torch.nan
    assert len(scaled._near(screen, u)) == len(data)


def test_few_weights_take_a_sparse_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Screen, "pays", lambda *_: False)
    data, level = pictures(), NoiseLevel(1.0, 0.5)
    x, calls = torch.as_tensor(states(data, level, 20)), list[Any]()
    scaled = ScaledEmpirical(data, precision="float64")
    sweep = scaled.cache["sweep"]

    def watched(*args: Any) -> State:
        calls.append(args[-1])
        found: State = sweep(*args)
        return found

    scaled.cache["sweep"] = watched
    got = scaled.moments(x, level)
    assert calls == [2.0**-53 / len(data)]
    expected = EmpiricalMixture(data, left_out=0.0).moments(x, level)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_bound_is_computed_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = list[str]()

    def pays(*_: Any) -> bool:
        modes.append(torch.backends.cuda.matmul.fp32_precision)
        return False

    monkeypatch.setattr(Screen, "pays", pays)
    ScaledEmpirical(pictures(), precision="tf32").moments(np.zeros((2, 130)), NoiseLevel(1.0, 0.5))
    assert modes == ["ieee"]


@pytest.mark.parametrize("sigma", [8.0, 1.0, 0.1, 0.003])
def test_shares_of_the_rows_give_the_whole(sigma: float) -> None:
    data, level = pictures(), NoiseLevel(1.0, sigma)
    x = states(data, level, 20)
    tangent = np.random.default_rng(3).standard_normal(x.shape)
    whole = ScaledEmpirical(data, precision="float64")
    parts = ScaledEmpirical(data, precision="float64", device_rows=900)
    for a, b in zip(parts.moments(x, level), whole.moments(x, level), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        parts.jvp(x, level, tangent), whole.jvp(x, level, tangent), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_narrow_rows_give_what_wide_ones_do(
    precision: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = np.rint(40 * pictures())
    places = np.clip(places - np.median(places), -128, 127)
    data = places / 16
    forms = {"codes": data, "given": places.astype(np.int8), "half": data.astype(np.float16)}
    wide = ScaledEmpirical(data, precision=precision, device=device)
    for share in (2**16, 900):  # rows in one share, and in several
        monkeypatch.setattr(denoiser, "SHARE", share)
        for name, form in forms.items():
            own = wide
            if name == "given":
                own = ScaledEmpirical(places, precision=precision, device=device)
            storage = "codes" if name == "codes" else "given"
            law = ScaledEmpirical(form, precision=precision, device=device, storage=storage)
            assert isinstance(law.atoms, Narrow)
            assert law.atoms.codes.element_size() == (2 if name == "half" else 1)
            np.testing.assert_array_equal(law.atoms[::7].cpu(), own.atoms.rows[::7].cpu())
            np.testing.assert_array_equal(law.atoms.halves.cpu(), own.atoms.halves.cpu())
            for sigma in (8.0, 0.3, 0.003):
                level = NoiseLevel(1.0, sigma * (16 if name == "given" else 1))
                wider = np.asarray(own.data)
                x = states(wider, level, 20)
                spread, mass = posterior(wider, 0.0, x, level)
                exact = EmpiricalMixture(wider, left_out=0.0)
                limit = bounds(exact, x, level, precision, spread=spread, mass=mass)
                assert excess(law.moments(x, level), exact.moments(x, level), limit).max() < 1
                if precision == "float64":
                    got, expected = law.jvp(x, level, x), own.jvp(x, level, x)
                    assert np.abs(got - expected).max() <= 1e-7 * np.abs(expected).max() + 1e-9


def test_narrow_rows_come_from_the_host_share_by_share() -> None:
    data, level = np.clip(np.rint(40 * (pictures() - 2)), -128, 127), NoiseLevel(1.0, 200.0)
    x = states(data, level, 20)
    law = ScaledEmpirical(data, precision="float64", storage="codes", device_rows=900)
    shares = list(law.posterior(torch.as_tensor(x), level).shares())
    assert [len(atoms.halves) for atoms in shares] == [900] * 4 + [600]
    whole = ScaledEmpirical(data, precision="float64")
    for a, b in zip(law.moments(x, level), whole.moments(x, level), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_rows_on_no_grid_have_no_codes() -> None:
    with pytest.raises(InputError, match=r"^storage must be work or given for rows on no grid"):
        ScaledEmpirical(rows(), storage="codes")


def spread_over(rank: int, world: int, folder: str) -> None:
    """What a process of a group of two computes."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    data = pictures()
    law = ScaledEmpirical(data, precision="float64", spread=True)
    out = []
    for sigma in (8.0, 0.1):
        level = NoiseLevel(1.0, sigma)
        x = states(data, level, 20)
        out.extend([*law.moments(x, level), law.jvp(x, level, x)])
    np.savez(f"{folder}/{rank}.npz", *out)
    torch.distributed.destroy_process_group()


def test_a_process_alone_in_its_group_is_the_whole(tmp_path: Path) -> None:
    spread_over(0, 1, str(tmp_path))
    found, data = np.load(tmp_path / "0.npz"), pictures()
    law, level = ScaledEmpirical(data, precision="float64"), NoiseLevel(1.0, 8.0)
    x = states(data, level, 20)
    for name, exact in zip(
        found.files, [*law.moments(x, level), law.jvp(x, level, x)], strict=False
    ):
        np.testing.assert_allclose(found[name], exact, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_two_processes_share_the_rows_and_return_the_same_bits(tmp_path: Path) -> None:
    processes: Any = torch.multiprocessing
    processes.spawn(spread_over, (2, str(tmp_path)), nprocs=2)
    one, two = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    data = pictures()
    law, expected = ScaledEmpirical(data, precision="float64"), []
    for sigma in (8.0, 0.1):
        level = NoiseLevel(1.0, sigma)
        x = states(data, level, 20)
        expected.extend([*law.moments(x, level), law.jvp(x, level, x)])
    for name, exact in zip(one.files, expected, strict=True):
        np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_allclose(one[name], exact, rtol=1e-8, atol=1e-9)


def test_spreading_needs_a_group() -> None:
    with pytest.raises(InputError, match=r"^spread must be False where torch.distributed has not"):
        ScaledEmpirical(rows(10), spread=True)


def test_two_parts_of_11_bits_hold_a_number_up_to_its_22nd() -> None:
    x = torch.as_tensor(rows(300, 24)).float()
    large, small = streaming.two_parts(x)
    for part in (large, small):
        assert torch.equal(PRECISIONS["tf32"].rounded(part), part)
    left = (x.double() - large.double() - small.double()).abs() / x.double().abs()
    assert 2.0**-25 < left.max() <= 2.0**-22
    dropped = (small.double() / x.double()).abs().max() ** 2
    assert left.max() + dropped < PRECISIONS["tf32x3"].unit
    columns = streaming.second_factor(x, x[:, 0], PRECISIONS["tf32x3"])
    assert torch.equal(columns, torch.cat([large.T, small.T]))


@pytest.mark.parametrize("method", ["split", "folded", "fused"])
def test_a_method_for_another_precision_or_device_is_refused(method: str) -> None:
    with pytest.raises(InputError, match=r"^method must be plain without CUDA"):
        ScaledEmpirical(rows(10), precision="tf32x3", method=method)
    for cuda_method in ("plain", "folded"):
        with pytest.raises(InputError, match=r"^method must "):
            METHODS[cuda_method](PRECISIONS["tf32x3"], 24, cuda=True)


@pytest.mark.parametrize("precision", FUSED)
def test_a_fused_sweep_finds_mass_and_second_moment_in_its_second_product(precision: str) -> None:
    kind = PRECISIONS[precision]
    factors = kind.rounded(torch.as_tensor(rows(300, 24)))
    halves = 0.5 * (factors.double() ** 2).sum(dim=1)
    columns = streaming.second_factor(factors, halves.float(), kind).double()
    assert columns.shape == (32, 300)
    assert torch.equal(columns[:24], factors.T.double())
    assert torch.equal(columns[24], torch.ones(300, dtype=torch.float64))
    # three parts of 8 or 11 bits hold the 24 of a float32 number
    assert torch.equal(columns[25:].sum(dim=0), halves.float().double())
    assert not columns[28:].any()
