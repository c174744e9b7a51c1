"""What was seen in the authors' code of few-step systems, read and run on the side.

Such code is on no package index and its samplers ask for a network's inside, so that the kit's
rows cannot be made of it. Each entry names the commit, what is seen, and the run that shows it.
"""

from __future__ import annotations

from typing import NamedTuple

LAW = "two modes in the plane, EDM, levels even in log sigma from 20 to 0.05"
"""The law and grid of the runs, where an entry names no other."""


class Seen(NamedTuple):
    """One thing that was seen."""

    repository: str
    commit: str
    where: str
    what: str
    case: str


SEEN = (
    Seen(
        "onefly123/PAS",
        "ea6951b",
        "pca_utils/utils.py, PCA_process",
        "At sampling a corrected step leaves two directions in the buffer, its own and the "
        "corrected one; coordinates are fitted on a copy, with the corrected one alone",
        "12 dimensions, 6 steps, 2, 3 and 4 directions: the ends differ by 5e-4, 0.16 and 0.09",
    ),
    Seen(
        "onefly123/PAS",
        "ea6951b",
        "pca_utils/utils.py, PCA_process",
        "Of three centred vectors a third principal direction is asked: with 4 directions the "
        "last one at the second step is whatever the randomised decomposition returns",
        "4 states, 6 seeds: its cosine to that of the first seed lies between -0.87 and 1",
    ),
    Seen(
        "onefly123/PFDiff",
        "e63fd30",
        "condition/Stable Diffusion/ldm/models/diffusion/PFDiff_2_1.py",
        "Where two levels are left the denoiser is asked at the last block's springboard, not at "
        "the one just computed",
        "the loop typed anew, 9 fine steps: root mean square error 0.101, mended 0.090",
    ),
    Seen(
        "jin01020/rx-dpm",
        "580ecf7",
        "edm/generate.py, get_coeff",
        "With skip_last=False the last, longer block is extrapolated by the lengths of its first "
        "steps alone",
        "EDM's grid from 20 to 0.05 and on to 0, 7 steps in blocks of 3: the end differs by 1e-3; "
        "5 steps in blocks of 2: by 2e-3",
    ),
    Seen(
        "wl-zhao/DC-Solver",
        "f82d060",
        "stable-diffusion/ldm/models/diffusion/dc_solver/dc_solver.py",
        "A base of order 2 keeps two outputs, and the compensation asks for three: a ratio other "
        "than 1 is an IndexError, and the search never leaves 1",
        "order=2, steps=6, dc_ratios=[1.0, 1.0, 1.3, 0.8, 1.2, 0.9]",
    ),
    Seen(
        "thu-ml/DPM-Solver-v3",
        "ba16871",
        "samplers/dpm_solver_v3.py",
        "Statistics are integrated by the trapezoid rule: an error that no number of steps removes",
        "6 steps, 600, 1200 and 2400 nodes: 3.7e-6, 9.2e-7 and 2.3e-7 from exact integrals",
    ),
    Seen(
        "bebebe666/OptimalSteps",
        "ee35043",
        "OSS/OSS.py",
        "A cell that no longer path improves on keeps the state of a shorter one, while the trace "
        "back takes the longer one's predecessors: the schedule returned is not the one whose "
        "cost was computed, and may leave out the noisiest level",
        "200 Gaussians, 8 to 15 teacher steps: 99 schedules err otherwise than computed, all with "
        "3 to 5 steps, up to 15,000 times in the mean square",
    ),
    Seen(
        "vinhsuhi/LD3",
        "9e4a66f",
        "trainer.py, lambda mode",
        "The range of the second levels is taken from the logits, which begin equal, not from the "
        "levels: 0, so that they stay where they are",
        "5 steps, second parameters 0.1: levels move by 0 (time mode: 0.1)",
    ),
    Seen(
        "kvfrans/shortcut-models",
        "6010043",
        "helper_inference.py and helper_eval.py",
        "Consistency distillation is sampled by Euler's steps along (f - x)/(1 - t), the chord to "
        "the model's end: states leave the trajectory, and more steps err more",
        "the exact consistency function of modes at -1 and 1.5, 400 states: root mean square error "
        "0, 0.28, 0.41 and 0.58 with 1, 2, 4 and 128 steps",
    ),
    Seen(
        "kvfrans/shortcut-models",
        "6010043",
        "targets_shortcut.py, get_targets",
        "The state between the two halves is clipped at 4, so that larger states have targets that "
        "are not self-consistent; 23 % of the noise draws of 32 x 32 x 4 have a coordinate there",
        "the exact displacement from 4.5 in pure noise on N(0, 1/4), halves of 1/128: 4.26 where "
        "4.49 is due",
    ),
)
"""In the order of the page."""
