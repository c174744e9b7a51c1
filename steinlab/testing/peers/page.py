"""``docs/conformance.md``, made of a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.storage import write_whole
from steinlab.testing.checks import CHECKS
from steinlab.testing.peers.read_code import LAW, SEEN
from steinlab.testing.peers.record import name_of, read

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What several configurations show for one reason.

    Parameters
    ----------
    text : str
        What is seen, without a number.
    checks : tuple of str
        Whose failures show it.
    samplers : tuple of str
        Beginnings of ``library sampler``.
    options : tuple of str
        Parts of the options, one of which must be there; any where empty.
    reported : str
        Public threads about it, as links.
    """

    text: str
    checks: tuple[str, ...]
    samplers: tuple[str, ...]
    options: tuple[str, ...] = ()
    reported: str = ""

    def shown_by(self, records: Sequence[Record]) -> list[tuple[Record, Mapping[str, Any]]]:
        """Return the records and rows that show it."""
        return [
            (one, row)
            for one in records
            if f"{one['library']} {one['sampler']}".startswith(self.samplers)
            and (not self.options or any(part in one["options"] for part in self.options))
            for row in one["rows"]
            if row["check"] in self.checks and row["verdict"] == "fails"
        ]


def issue(repository: str, *numbers: int) -> str:
    """Return links to threads of a repository on GitHub."""
    base = f"https://github.com/{repository}/issues"
    return ", ".join(f"[#{number}]({base}/{number})" for number in numbers)


HUGGING_FACE = "huggingface/diffusers"

FINDINGS = (
    Finding(
        "The third-order multistep DPM-Solver++ is of order two, however it is started: half of "
        "the third moment is in the formula as published",
        ("order-graded",),
        (
            "diffusers DPMSolverMultistep",
            "diffusers EDMDPMSolverMultistep",
            "k-diffusion sample_dpmpp_3m_sde",
        ),
    ),
    Finding(
        "The single-step SDE solver of order two is of weak order one: the end of its step draws "
        "anew what its stage drew, instead of sharing it",
        ("law",),
        ("diffusers DPMSolverSinglestep",),
    ),
    Finding(
        "The third-order multistep SDE solver is of weak order two: with no noise inside its step "
        "the variance is right to second order",
        ("law",),
        ("k-diffusion sample_dpmpp_3m_sde",),
    ),
    Finding(
        "DEIS of order three forms its coefficients in float32 by cancellation; the error grows "
        "with the number of steps",
        ("own-float32", "float32"),
        ("diffusers DEISMultistep",),
    ),
    Finding(
        "LMS started midway takes coefficients for a history that is not there",
        ("own-midway", "midway"),
        ("diffusers LMSDiscrete",),
        reported=issue(HUGGING_FACE, 5630),
    ),
    Finding(
        "UniPC is not a number at its default end, zero noise, with bh1, in noise form, or "
        "without lower order at the end",
        ("own-finite", "end-at-zero"),
        ("diffusers UniPCMultistep",),
    ),
    Finding(
        "The level that the network is told is not the solver's: sigma is turned into an integer "
        "time",
        ("network-level",),
        (
            "diffusers DPMSolver",
            "diffusers UniPCMultistep",
            "diffusers DEISMultistep",
            "diffusers SASolver",
        ),
        ("use_karras", "use_exponential", "use_beta", "use_lu"),
    ),
    Finding(
        "Steps go to levels at which the network is not asked: the next time is taken as "
        "`timestep - num_train_timesteps // num_inference_steps`",
        ("own-levels",),
        ("diffusers DDIM", "diffusers CogVideoX"),
        ("linspace", "trailing"),
        issue(HUGGING_FACE, 12633, 11347, 9261),
    ),
    Finding(
        "The last level stands twice: an evaluation for a step that moves nothing",
        ("own-grid", "wasted"),
        ("diffusers DEISMultistep", "diffusers SASolver"),
    ),
    Finding(
        "Fixed Adams-Bashforth weights: of order two where the steps are uneven, as they are in "
        "`sigma / alpha` on every shipped grid",
        ("order-even", "order-uneven", "order-graded", "gaussian"),
        ("diffusers IPNDM", "diffusers PNDM"),
    ),
)
"""What is known of these libraries; a test asks that each is in the record."""


def write(page: Path, record: Path) -> None:
    """Write the page of a record."""
    text = made_of(*read(record))
    write_whole(page, lambda stream: stream.write(text.encode("utf-8")))


def made_of(versions: Mapping[str, str], records: Sequence[Record]) -> str:
    """Return the page's text."""
    return "\n".join(
        [
            *_head(versions, records),
            *_found(records),
            *(line for name in _libraries(records) for line in _library(name, records)),
            *_by_design(records),
            *_left_out(records),
            *_read(),
        ]
    )


def _libraries(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(str(one["library"]) for one in records))


def _failures(one: Record) -> list[Mapping[str, Any]]:
    return [row for row in one["rows"] if row["verdict"] == "fails"]


def _head(versions: Mapping[str, str], records: Sequence[Record]) -> list[str]:
    judged = [one for one in records if one["rows"]]
    wrong = [one for one in judged if _failures(one)]
    by = ", ".join(f"{name} {number}" for name, number in versions.items())
    return [
        "# Conformance of other libraries' samplers",
        "",
        "What the conformance kit ([property-test.md](property-test.md)) sees of schedulers and "
        "samplers as they are installed from the package index. Each is driven with exact "
        "denoisers of known laws in place of a network; each number is measured by the run that "
        "wrote this page. It says what a configuration does, not which is better: a method of "
        "order two may be the right choice, and a pipeline may never reach a configuration listed "
        "here. Where a library's documentation says that something is so by design, it is listed "
        "apart.",
        "",
        f"{len(judged)} configurations judged, {len(wrong)} with a failing check; {by}.",
        "",
        "## How to repeat it",
        "",
        "Made by `python -m steinlab.testing.peers --record docs/results/conformance.jsonl --page "
        "docs/conformance.md` (`--only NAME` judges some); a file that exists is resumed, so "
        "remove it after an upgrade. One of them with the whole report, of a factory in a file: "
        "`steinlab check file.py:factory --order 2`.",
        "",
        "diffusers and torchdiffeq come with `steinlab[peers]`. The others are installed with "
        "`pip install --no-deps k-diffusion torchsde trampoline azula einops flow-matching`: "
        "k-diffusion and azula ask for torchvision, of which their samplers need nothing, and "
        "flow-matching puts a package `tests` beside itself that is better removed. The original "
        "DPM-Solver code is not on the package index; diffusers' DPM-Solver rows stand for it.",
        "",
    ]


def _found(records: Sequence[Record]) -> list[str]:
    rows = ["## What is seen in several configurations", ""]
    rows += ["| what | where | measured | public report |", "|---|---|---|---|"]
    for finding in FINDINGS:
        shown = finding.shown_by(records)
        if not shown:
            rows.append(_line(finding.text, "not seen in these versions", "", finding.reported))
            continue
        names = list(dict.fromkeys(_named(one) for one, _ in shown))
        where = "; ".join(names[:6]) + (f"; {len(names) - 6} more" if len(names) > 6 else "")
        first: dict[str, str] = {}
        for one, row in shown:
            first.setdefault(_named(one), row["text"])
        texts = list(first.values())
        measured = "; ".join(dict.fromkeys(texts[:3]))
        rows.append(_line(finding.text, where, measured, finding.reported or "none found"))
    return [*rows, ""]


def _named(one: Record) -> str:
    options = f" ({one['options']})" if one["options"] else ""
    return f"{one['library']} {one['sampler']}{options}"


def _library(name: str, records: Sequence[Record]) -> list[str]:
    own = [one for one in records if one["library"] == name and one["rows"]]
    if not own:
        return []
    rows = [f"## {name}", ""]
    rows += [
        "| sampler | options | declared | order | method | fails |",
        "|---|---|---|---|---|---|",
    ]
    for one in own:
        found = {row["check"]: row for row in one["rows"]}
        wrong = _failures(one)
        rows.append(
            _line(
                one["sampler"],
                one["options"] or "default",
                "" if one["declared"] is None else str(one["declared"]),
                _order(found),
                found.get("method", {}).get("text", "").partition("; the nearest")[0],
                "; ".join(_failure(row) for row in wrong) or "conforms",
            )
        )
    return [*rows, ""]


def _order(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The order read behind its own start, where it was read; of what draws noise the weak one."""
    row = found.get("law") or found.get("order-graded", {})
    measured = row.get("measured")
    return f"{measured:.2f}" if isinstance(measured, float) else ""


TITLES = {check.id: check.title for check in CHECKS}


def _failure(row: Mapping[str, Any]) -> str:
    text = str(row["text"]).partition("; errors")
    tail = text[2].rpartition("; ")[2] if "is declared" in text[2] else ""
    words = text[0] + (f", {tail}" if tail else "")
    return f"**{TITLES.get(row['check'], row['check'])}**: {words}"


def _by_design(records: Sequence[Record]) -> list[str]:
    found = [(one, row) for one in records for row in one["rows"] if row["verdict"] == "by-design"]
    if not found:
        return []
    rows = ["## By design", "", "| sampler | what | measured |", "|---|---|---|"]
    rows += [_line(_named(one), row["reason"], _failure(row)) for one, row in found]
    return [*rows, ""]


def _left_out(records: Sequence[Record]) -> list[str]:
    out = [one for one in records if not one["rows"]]
    if not out:
        return []
    rows = ["## Not judged", "", "| sampler | why |", "|---|---|"]
    return [*rows, *(_line(name_of(one), one.get("not_run", "")) for one in out), ""]


def _read() -> list[str]:
    rows = [
        "## Authors' code of few-step systems",
        "",
        "Read and run on the side, apart from the kit: it is on no package index. Apart from what "
        "is listed, ours ([systems](systems/one-evaluation.md)) end where AMED, EPD, DC-Solver "
        "(without corrector) and PAS (with exact principal directions) end, to 1e-13; PFDiff was "
        f"read only. Law and grid, where none are named: {LAW}.",
        "",
        "| code | where | what | case |",
        "|---|---|---|---|",
    ]
    for one in SEEN:
        code = f"[{one.repository}](https://github.com/{one.repository}/tree/{one.commit})"
        rows.append(_line(f"{code} {one.commit}", one.where, one.what, one.case))
    return [*rows, ""]


def _line(*cells: str) -> str:
    return (
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    )
