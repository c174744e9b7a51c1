r"""``gmm``: a few coefficients from several of Stein's identities, weighed by their covariance.

The generalised method of moments (Hansen, "Large sample properties of generalized method of
moments estimators", Econometrica 50, 1982): the candidate moves along a few directions,
``y = T + sum_k c_k d_k``, to the minimum of

    Q(c) = n g(c)' W g(c) + sum_k (c_k / prior)^2,     g(c) = mean_i m(y_i)

over the moments ``m`` of :mod:`steinlab.corrections.moments`, ``W`` the inverse of their covariance
on the batch. Law matching is the case of one direction and one moment. More moments than
coefficients tell directions apart that the scalar identity cannot, and the second term leaves alone
what they do not determine: the directions are nearly collinear at large noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytic.arrays import Array
from steinlab.corrections.base import Diagnostics
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.corrections.law_matched import LARGEST, STATES, TRIAL
from steinlab.corrections.moments import moments, weights
from steinlab.corrections.subspaces import wide
from steinlab.divergence import Step
from steinlab.errors import one_of
from steinlab.estimates import Estimate
from steinlab.solvers.scalars import has_noise

WEAK = 1e-20
RIDGE = 1e-2
PRIOR = 0.3
REFINEMENTS = 2
SECANTS = 3
SOLVED = 0.5


@dataclass(frozen=True)
class Gmm:
    directions: Sequence[str] = ("state", "noise", "slope")
    states: int = STATES
    significance: float = 2.0
    prior: float = PRIOR
    name: str = "gmm"
    depth: int = 1
    refinements: int = 2
    secants: int = 3
    starts: Sequence[str] = ("state", "noise")
    broyden: bool = False
    ridge: float = RIDGE
    solved: float = 0.5
    resolve: bool = False

    def __post_init__(self) -> None:
        for direction in self.directions:
            one_of("directions", direction, tuple(DIRECTIONS))

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        plain = step.candidate.state
        head = step.head(self.states)
        if not has_noise(step.t) or head.states < 3 or plain.ndim != 2:
            return plain, Diagnostics(1.0, note="declined")
        search = _Search(head, self)
        best = search.best()
        spent = search.evaluations * head.states / step.states
        if best is None:
            return plain, Diagnostics(1.0, note=f"declined: {search.why}", evaluations=spent)
        move = dict(zip(self.directions, best.c.tolist(), strict=True))
        return moved(step, move), Diagnostics(1.0 - move.get("residual", 0.0), None, "", move, spent)


@dataclass(frozen=True)
class _Trial:
    c: np.ndarray
    m: np.ndarray

    @property
    def defect(self):
        return float(self.m[:, 0].mean())

    @property
    def error(self):
        return float(self.m[:, 0].std() / math.sqrt(len(self.m)))

    def value(self, W, prior):
        g = self.m.mean(axis=0)
        return float(len(self.m) * g @ W @ g + np.sum(self.c**2) / prior**2)


class _Search:
    def __init__(self, step, o):
        self.step, self.o = step, o
        self.basis = wide(step.candidate.denoised)
        self.fields = [DIRECTIONS[k](step) for k in o.directions]
        size = float((step.candidate.state**2).mean())
        self.alive = np.array([float((f**2).mean()) > WEAK * size for f in self.fields])
        self.evaluations = 0
        self.why = ""

    def trial(self, c):
        y = self.step.candidate.state
        for ck, f in zip(c, self.fields):
            if ck:
                y = y + float(ck) * f
        self.evaluations += 1
        return _Trial(c, moments(self.step.denoiser, y, self.step.t, self.basis))

    def best(self):
        o = self.o
        start = self.trial(np.zeros(len(self.fields)))
        K = start.m.shape[1]
        q0 = start.value(weights(start.m, o.ridge), o.prior)
        if q0 <= K + o.significance * math.sqrt(2 * K) and abs(start.defect) <= o.significance * start.error:
            self.why = "within errors"
            return None
        trials = [start]
        if abs(start.defect) > o.significance * start.error:
            for s in o.starts:
                if s in o.directions and self.alive[o.directions.index(s)]:
                    trials += self.secant(start, o.directions.index(s))
        cur = self.choose(trials)
        J = None
        for it in range(o.refinements):
            if J is None or not o.broyden:
                J = self.jacobian(cur)
            new = self.gauss_newton(cur, J)
            if new is None:
                break
            if o.broyden:
                dc = new.c - cur.c
                J = J + np.outer(new.m.mean(0) - cur.m.mean(0) - J @ dc, dc) / max(dc @ dc, 1e-30)
            cur = new
        if abs(cur.defect) > max(o.solved * abs(start.defect), 2 * start.error):
            self.why = "unsolved"
            return None
        if not cur.c.any():
            self.why = "no trial"
            return None
        return cur

    def secant(self, start, i):
        c, v, out = 0.0, start.defect, []
        new = -math.copysign(TRIAL, v)
        for _ in range(self.o.secants):
            cc = np.zeros(len(self.fields)); cc[i] = new
            t = self.trial(cc)
            w = t.defect
            if not np.all(np.isfinite(t.m)) or w == v:
                break
            out.append(t)
            slope = (w - v) / (new - c); c, v = new, w
            new = float(np.clip(c - v / slope, -LARGEST, LARGEST))
            if abs(v) < 0.1 * start.error or new == c:
                break
        return out

    def choose(self, trials):
        ref = min(trials, key=lambda t: np.sum(np.log(t.m.var(axis=0))))
        W = weights(ref.m, self.o.ridge)
        return min(trials, key=lambda t: t.value(W, self.o.prior))

    def jacobian(self, cur):
        J = np.zeros((cur.m.shape[1], len(self.fields)))
        for k in np.flatnonzero(self.alive):
            c = cur.c.copy(); c[k] += TRIAL
            J[:, k] = (self.trial(c).m.mean(0) - cur.m.mean(0)) / TRIAL
        return J

    def gauss_newton(self, cur, J):
        n, o = len(cur.m), self.o
        R = math.sqrt(n) * np.linalg.cholesky(weights(cur.m, o.ridge)).T
        if not np.all(np.isfinite(J)): return None
        M = np.vstack([R @ J, np.eye(len(cur.c)) / o.prior])
        v = np.concatenate([R @ cur.m.mean(0), cur.c / o.prior])
        step = -np.linalg.lstsq(M, v, rcond=None)[0]
        for damp in (1.0, 0.3):
            new = self.trial(np.clip(cur.c + damp * step, -LARGEST, LARGEST))
            if np.all(np.isfinite(new.m)) and self.choose([cur, new]) is new:
                return new
        return None
