"""Group the processes that ``torchrun`` starts, one per GPU; a plain start is a group of one.

Gradients are summed explicitly after the backward pass, so that a process that runs out of memory
repeats its own part before the others are waited for.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist

from steinlab.errors import InputError


@dataclass(frozen=True)
class Group:
    """One process among its peers.

    Parameters
    ----------
    rank, size : int
    device : torch.device
        Where the process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """Return this process's rows of ``total``: contiguous, equally many up to one.

        Examples
        --------
        >>> [Group(rank, 3, torch.device("cpu")).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * total // self.size, (self.rank + 1) * total // self.size)

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one exchange."""
        if self.size == 1:
            return
        each = list(tensors)
        flat = torch.cat([t.reshape(-1) for t in each])
        dist.all_reduce(flat)
        for t, part in zip(each, torch.split(flat, [t.numel() for t in each]), strict=True):
            t.copy_(part.view_as(t))

    def agree(self, value: float) -> float:
        """Return the leader's value in every process."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def gather(self, rows: torch.Tensor, total: int) -> torch.Tensor:
        """Return the rows of every process in order, where each has its :meth:`share`."""
        if self.size == 1:
            return rows
        longest = -(-total // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shares = [Group(rank, self.size, self.device).share(total) for rank in range(self.size)]
        return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, shares, strict=True)])


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of that name; by default a GPU where there is one.

    Raises
    ------
    InputError
        If CUDA is asked for and absent.

    Examples
    --------
    >>> pick_device("cpu")
    device(type='cpu')
    """
    wanted = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        asked = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"device must be cpu or cuda, got {wanted}") from None
    if asked.type not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu or cuda, got {wanted}")
    if asked.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = local_rank if asked.index is None else asked.index
    if index >= count:
        raise InputError(f"device must be one of the {count} CUDA devices found, got {wanted}")
    return torch.device("cuda", index)


class Ranks(NamedTuple):
    """Which process this is of those that ``torchrun`` started, and which of its host."""

    rank: int
    size: int
    local: int


def ranks() -> Ranks:
    """Read the environment; a plain start is the only process."""
    found = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Ranks(*map(int, (one or other for one, other in zip(found, "010", strict=True))))


@contextmanager
def group_of(device: str | None = None) -> Iterator[Group]:
    """Join the processes that ``torchrun`` started (NCCL on GPUs, gloo on CPUs), and leave them."""
    rank, size, local = ranks()
    where = pick_device(device, local)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if size == 1:
        yield Group(0, 1, where)
        return
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Group(rank, size, where)
    finally:
        dist.destroy_process_group()
