r"""The posterior over a share of the rows, and over all of them from their shares.

A share's sums are relative to a reference of its own. With ``g`` the largest logit of all shares,
sums are scaled by ``exp(ref - g)``; the top rows of the shares that do not hold ``g`` join the rest
with weight ``exp(top_logit - g)``. The order is that of the shares, so that every process computes
the same bits from the same shares.
"""

from dataclasses import dataclass, fields

import torch

from gpu_models.exact.streaming import Atoms, State, has_triton


@dataclass(frozen=True)
class Part:
    """Sums over a share of the rows, the top one apart."""

    top_logit: torch.Tensor  # (N,)
    ref: torch.Tensor  # (N,) what the sums are relative to
    mass: torch.Tensor  # (N,)
    second: torch.Tensor  # (N,)
    half: torch.Tensor  # (N,) |m|^2 / 2 of the top row
    place: torch.Tensor  # (N,) of the top row in the data, exact in any float below 2^24 rows
    rest: torch.Tensor  # (N, d)
    factor: torch.Tensor  # (N, d) the top row, rounded to a product's factors
    row: torch.Tensor  # (N, d) the top row

    @classmethod
    def of(cls, state: State, atoms: Atoms) -> "Part":
        """Return what a finished pass over a share's rows found."""
        best, pick = state.top.long(), picked
        if has_triton(best, atoms.precision):
            from gpu_models.exact.ends import picked as pick
        factor, row = pick(best, atoms)
        place = atoms.places[best].to(atoms.precision.work)
        sums = (state.top_logit, state.ref, state.mass, state.second, atoms.halves[best], place)
        return cls(*sums, state.rest, factor, row)


def picked(top: torch.Tensor, atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the top rows as factors of a product, in the work dtype, and as they are."""
    return atoms.factors[top].to(atoms.precision.work), atoms.rows[top]


def joined(parts: list[Part]) -> Part:
    """Return the sums over all rows from those of their shares."""
    if len(parts) == 1:
        return parts[0]
    best, winner = torch.stack([part.top_logit for part in parts]).max(dim=0)
    mass, second, half, place = (torch.zeros_like(best) for _ in range(4))
    rest, factor, row = (torch.zeros_like(parts[0].rest) for _ in range(3))
    for number, part in enumerate(parts):
        wins = winner == number
        fade = torch.exp(part.ref - best)
        joins = torch.exp(part.top_logit - best).masked_fill(wins, 0.0)
        mass = mass + fade * part.mass + joins
        second = second + fade * part.second + joins * part.half
        rest = rest + fade[:, None] * part.rest + joins[:, None] * part.factor
        half, place = torch.where(wins, part.half, half), torch.where(wins, part.place, place)
        factor = torch.where(wins[:, None], part.factor, factor)
        row = torch.where(wins[:, None], part.row, row)
    return Part(best, best, mass, second, half, place, rest, factor, row)


def gathered(part: Part) -> list[Part]:
    """Return every process's part of the same states, in the order of their ranks."""
    count = torch.distributed.get_world_size()
    packed = torch.cat([getattr(part, f.name).reshape(len(part.ref), -1) for f in fields(part)], 1)
    all_of_them = [torch.empty_like(packed) for _ in range(count)]
    torch.distributed.all_gather(all_of_them, packed.contiguous())
    width = part.rest.shape[1]
    found = []
    for one in all_of_them:
        numbers = (one[:, i].contiguous() for i in range(6))
        vectors = (one[:, 6 + i * width : 6 + (i + 1) * width] for i in range(3))
        found.append(Part(*numbers, *vectors))
    return found
