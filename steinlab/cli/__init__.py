"""The command line: one small file a command, one line each to register it.

Exit codes: 0 done, 1 not trustworthy or a defect of the laboratory (with a traceback), 2 bad input
(one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from steinlab.cli.calibrate import calibrate
from steinlab.cli.check import check
from steinlab.cli.check_grid import check_grid
from steinlab.cli.coefficient import coefficient
from steinlab.cli.compare import compare
from steinlab.cli.falsify import falsify
from steinlab.cli.figures import figures
from steinlab.cli.models import models
from steinlab.cli.replay import replay
from steinlab.cli.report import report
from steinlab.cli.sample import sample
from steinlab.cli.trace import trace
from steinlab.cli.verify import verify
from steinlab.errors import InputError, Interrupted, suggestion

INTERRUPTED = 130
"""Exit code of a command that the user stopped."""

app = typer.Typer(
    name="steinlab",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    suggest_commands=False,
    help="A laboratory for claims about diffusion-ODE solvers.",
)
app.command()(verify)
app.command()(falsify)
app.command()(replay)
app.command()(coefficient)
app.command()(compare)
app.command()(calibrate)
app.command()(sample)
app.command()(models)
app.command()(figures)
app.command()(report)
app.command()(check)
app.command("check-grid")(check_grid)
app.command()(trace)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"steinlab {version('steinlab')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    args : sequence of str, optional
        By default the process's own arguments.
    """
    try:
        _require_command(list(sys.argv[1:] if args is None else args))
        code = app(args, prog_name="steinlab", standalone_mode=False)
    except InputError as error:
        return _say(str(error), 2)
    except Interrupted as error:
        return _say(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED)
    except SystemExit as error:  # of a claim's code: its 0 must not be ours
        raise RuntimeError(f"a claim must not end the process, got SystemExit: {error}") from error
    except Exception as error:
        if not _is_usage_error(error):
            raise
        return _say(_sentence(error), 2)
    if code == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _require_command(args: list[str]) -> None:
    """Raise ``InputError`` naming the nearest command where the first word is none."""
    known = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]
    word = next((arg for arg in args if not arg.startswith("-")), None)
    if word is not None and word not in known:
        hint = suggestion(word, known)
        raise InputError(f"command must be one of {', '.join(known)}{hint}, got {word}")


def _is_usage_error(error: Any) -> bool:
    """Typer carries its own copy of click or uses the installed one: tell by the interface."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _sentence(error: Any) -> str:
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    return message[:1].lower() + message[1:]


def _say(message: str, code: int) -> int:
    print("steinlab: " + " ".join(message.split()), file=sys.stderr)
    return code
