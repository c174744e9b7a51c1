"""Functions of the plane with their derivatives: a quadratic plus bumps."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Potential:
    """``f``: a quadratic of ``5`` coefficients and bumps ``w^2 exp(-|z - c|^2 / (2 w^2))``.

    The factor ``w^2`` makes the bumps' second derivatives of order one.
    """

    coefficients: np.ndarray
    centers: np.ndarray
    width: float

    def bumps(self, z: np.ndarray) -> np.ndarray:
        """Return the bumps at states ``(N, 2)``, times ``w^2``, ``(N, K)``."""
        gap = (z**2).sum(axis=-1)[:, None] - 2 * z @ self.centers.T
        gap = np.maximum(gap + (self.centers**2).sum(axis=-1), 0.0)
        return np.asarray(np.exp(-0.5 * gap / self.width**2) * self.width**2)

    def features(self, z: np.ndarray) -> np.ndarray:
        """Return the terms at states ``(N, 2)``, ``(N, F)``."""
        a, b = z.T
        plain = np.stack((a, b, a * a / 2, a * b, b * b / 2), axis=-1)
        return np.concatenate((plain, self.bumps(z)), axis=1)

    def gradients(self, z: np.ndarray) -> np.ndarray:
        """Return every term's gradient, ``(2, N, F)``."""
        a, b = z.T
        one, zero = np.ones_like(a), np.zeros_like(a)
        plain = np.array([[one, zero, a, b, zero], [zero, one, zero, a, b]])
        pull = -self.bumps(z) / self.width**2
        sides = [pull * (z[:, i : i + 1] - self.centers[:, i]) for i in (0, 1)]
        return np.concatenate((np.swapaxes(plain, 1, 2), np.array(sides)), axis=-1)

    def at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ``f``, its gradient and ``I + f''``: ``(N,)``, ``(N, 2)``, ``(N, 2, 2)``."""
        plain, heights = self.coefficients[:5], self.coefficients[5:]
        matrix = np.array([[plain[2], plain[3]], [plain[3], plain[4]]])
        (c, d), (a, b) = self.centers.T, z.T
        moments = self.bumps(z) @ (heights * np.array([1 + 0 * c, c, d, c * c, c * d, d * d])).T
        m, mc, md, mcc, mcd, mdd = moments.T
        narrow = self.width**-2
        value = z @ plain[:2] + 0.5 * (z * (z @ matrix)).sum(axis=-1) + m
        slope = plain[:2] + z @ matrix - narrow * np.stack((a * m - mc, b * m - md), axis=-1)
        cross = a * b * m - a * md - b * mc + mcd
        rows = [[a * a * m - 2 * a * mc + mcc, cross], [cross, b * b * m - 2 * b * md + mdd]]
        bend = narrow**2 * np.moveaxis(np.array(rows), -1, 0)
        eye = np.eye(2)
        return value, slope, eye + matrix + bend - narrow * m[:, None, None] * eye

    def lattice(self) -> np.ndarray:
        """Return a lattice of states around the bumps, a quarter of their width apart."""
        low, high = self.centers.min(axis=0), self.centers.max(axis=0)
        low, high = low - 6 * self.width, high + 6 * self.width
        axes = [np.arange(a, b, 0.25 * self.width) for a, b in zip(low, high, strict=True)]
        return np.stack([g.ravel() for g in np.meshgrid(*axes)], axis=-1)

    def convexity(self) -> float:
        """Return the least eigenvalue of ``I + f''`` on the lattice, whose ends are flat."""
        return float(np.linalg.eigvalsh(self.at(self.lattice())[2])[:, 0].min())
