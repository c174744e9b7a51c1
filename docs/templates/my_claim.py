r"""The posterior mean has no more energy than the data: a claim to copy.

Statement   E|D(x)|^2 <= E|x_star|^2 for x = alpha x_star + sigma eps, D the posterior mean
Source      Jensen's inequality; where yours stands: author, year, theorem
Conditions  the data have a finite second moment
Formula     E|D|^2 = E|E[x_star | x]|^2 <= E[E[|x_star|^2 | x]] = E|x_star|^2

Copy the file, change the four lines above and the function below, and run

    steinlab verify my_claim.py
    steinlab show my_claim.py::my-claim
"""

from steinlab import E, claim, laws, levels


@claim(
    # 1. the statement, with its relation; where it stands; what it assumes
    "E|D|^2 <= E|x_star|^2",
    source="Jensen's inequality",
    conditions=["the data have a finite second moment"],
    # 2. what a reader learns where it holds, in a sentence
    headline="The posterior mean has no more energy than the data.",
    # 3. right sides that are wrong: each must be rejected, or the check is blind
    controls={"the data's variance": lambda law: law.variance()},
)
# 4. what it ranges over: one-dimensional mixtures, and levels of the EDM process
def my_claim(law=laws.mixtures(dim=1), s=levels("edm")):
    """Bound the energy of the posterior mean by that of the data."""
    # 5. both sides, as the statement has them; E is the expectation over x at level s
    return E(lambda x: law(x, s) ** 2, law, s) <= law.second_moment()
