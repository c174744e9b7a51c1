"""``steinlab check-certificate``: prove a certificate's leaves anew, by another evaluator."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from steinlab.cli.output import (
    JsonOption,
    ProgressOption,
    WorkersOption,
    progress_bar,
    show,
    write_json,
)
from steinlab.errors import InputError
from steinlab.storage import check_target

SHOWN = 20
"""Undecided boxes that the terminal lists; the JSON has them all."""


def check_certificate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What steinlab certify wrote.")],
    workers: WorkersOption = 1,
    target: JsonOption = None,
    silent: ProgressOption = False,
) -> int:
    """Prove each decided box of a certificate anew, and that the boxes cover; exit 1 if refused."""
    from analytic.certified.balls import missing
    from steinlab.verification.continuum.certificate import CertificateError, check, read
    from steinlab.verification.continuum.statement import told
    from steinlab.workers import executor_for

    check_target(target)
    if reason := missing():
        raise InputError(f"check-certificate must have ball arithmetic: {reason}")
    try:
        certificate = read(file)
        with executor_for(workers) as executor, progress_bar(silent) as tell:
            found = check(certificate, lambda done: tell(done, "boxes proved anew"), executor)
    except CertificateError as error:
        show(Text(f"refused: {error}"), target=target)
        write_json(target, {"accepted": False, "reason": str(error)})
        return 1
    statement, box, *_ = certificate
    open_boxes = [told(statement, one) for one in found.open]
    lines = [
        f"{statement.title}",
        f"  {told(statement, box)}",
        f"accepted: {found.proved} boxes proved and {found.refuted} refuted, "
        f"{found.decided:.2%} of the volume; {len(open_boxes)} boxes undecided",
        *(f"  undecided: {one}" for one in open_boxes[:SHOWN]),
    ]
    if len(open_boxes) > SHOWN:
        lines.append(f"  and {len(open_boxes) - SHOWN} more")
    show("\n".join(lines), target=target)
    write_json(
        target,
        {
            "accepted": True,
            "statement": statement.id,
            "proved": found.proved,
            "refuted": found.refuted,
            "decided": found.decided,
            "undecided": open_boxes,
        },
    )
    return 0
