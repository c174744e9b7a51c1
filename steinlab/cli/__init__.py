"""The command line: one small file per command, one line each to register it.

Other packages bring commands by entry points of the group ``steinlab.commands``: functions of the
arguments that return the exit code, loaded when they are called.

Exit codes: 0 done, 1 not trustworthy or a defect of the laboratory (with a traceback), 2 bad input
(one line on stderr), 130 interrupted, 143 told to end.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from steinlab import plugins
from steinlab.cli.advise import advise
from steinlab.cli.calibrate import calibrate
from steinlab.cli.certify import certify
from steinlab.cli.check import check
from steinlab.cli.check_certificate import check_certificate
from steinlab.cli.check_grid import check_grid
from steinlab.cli.coefficient import coefficient
from steinlab.cli.compare import compare
from steinlab.cli.export import export
from steinlab.cli.falsify import falsify
from steinlab.cli.figures import figures
from steinlab.cli.models import models
from steinlab.cli.pages import comparison_table, notebooks, pages
from steinlab.cli.replay import replay
from steinlab.cli.report import report
from steinlab.cli.sample import sample
from steinlab.cli.show import show
from steinlab.cli.tournament import tournament
from steinlab.cli.trace import trace
from steinlab.cli.verify import verify
from steinlab.errors import InputError, Interrupted, Terminated, message, one_of

INTERRUPTED, TERMINATED, BROKEN_PIPE = 130, 128 + signal.SIGTERM, 141
"""Exit codes: stopped by the user, told to end, and a reader of the output that has gone."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk that takes no more."""

app = typer.Typer(
    name="steinlab",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    suggest_commands=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for claims about diffusion-ODE solvers.",
)
COMMANDS: Mapping[str | None, Sequence[Callable[..., Any]]] = {
    None: (
        *(verify, show, falsify, replay, coefficient, compare, advise, calibrate, sample),
        *(tournament, models, figures, report, export, check, check_grid, trace),
        *(certify, check_certificate),
    ),
    "Upkeep of the pages": (pages, notebooks, comparison_table),
}
for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(
            _command.__name__.replace("_", "-"),
            rich_help_panel=_panel,
            context_settings={"ignore_unknown_options": _command is check_grid},  # numbers below 0
        )(_command)


def _summary(entry: EntryPoint) -> str:
    """Return the first sentence of a command's module, which is not imported."""
    try:
        spec = find_spec(entry.module)
        text = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    except (ImportError, OSError, ValueError):
        return ""
    sentence = [*text.split('"""', 2), ""][1].partition("\n\n")[0]
    return sentence.partition(": ``steinlab")[0].rstrip(".") + "."


def _brought(entry: EntryPoint) -> None:
    """Register a command of another package, which parses its own arguments."""

    def call(context: typer.Context) -> int:
        return int(entry.load()(context.args))

    passed_on = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(
        entry.name,
        help=_summary(entry),
        add_help_option=False,
        context_settings={**passed_on, "allow_interspersed_args": False},
        rich_help_panel=f"Commands of {entry.module.partition('.')[0]}",
    )(call)


for _entry in sorted(plugins.entries("steinlab.commands"), key=lambda entry: entry.value):
    _brought(_entry)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from steinlab.storage.sources import commit

        at = f" ({commit()})" if commit() else ""
        typer.echo(f"steinlab {version('steinlab')}{at}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(args: Sequence[str] | None = None) -> int:  # noqa: PLR0911, PLR0912 - one per ending
    """Run the command line and return its exit code.

    Parameters
    ----------
    args : sequence of str, optional
        By default the process's own arguments; the process then ends cleanly when it is told to.
    """
    given = list(sys.argv[1:] if args is None else args)
    if args is None:
        signal.signal(signal.SIGTERM, _end)
    try:
        _require_command(given)
        code = app(given, prog_name="steinlab", standalone_mode=False)
        sys.stdout.flush()
    except (InputError, Interrupted) as error:
        return _say(str(error), 2 if isinstance(error, InputError) else INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED)
    except Terminated:
        return _say("told to end", TERMINATED)
    except SystemExit as error:  # of a claim's code: its 0 must not be ours
        if _completes(given):
            raise
        if isinstance(error.__context__, BrokenPipeError):
            return BROKEN_PIPE  # nobody reads on, as in ``steinlab show | head``
        raise RuntimeError(f"a claim must not end the process, got SystemExit: {error}") from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        if error.filename is not None:
            return _say(f"file must be one at hand, got {error.filename}: {reason}", 2)
        if error.errno not in (errno.EPIPE, *FULL):
            raise
        with suppress(OSError):  # what is left of the output goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return BROKEN_PIPE
        return _say(f"output must be one that can be written: {reason}", 2)
    except Exception as error:
        # typer carries its own copy of click or uses the installed one: tell by the interface
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        said = str(error.format_message()).strip().rstrip(".")
        return _say(said[:1].lower() + said[1:], 2)
    if code == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def door(*words: str) -> NoReturn:
    """Answer an old name, a script's or a module's, by the command that took its place."""
    spec = sys.modules["__main__"].__spec__
    old = f"python -m {spec.name.removesuffix('.__main__')}" if spec else sys.argv[0]
    print(f"steinlab: {old} is now steinlab {words[0]}", file=sys.stderr)
    sys.argv[1:1] = words
    sys.exit(main())


def _end(*_: Any) -> None:
    raise Terminated


def _completes(args: Sequence[str]) -> bool:
    """Whether typer answers a shell, which it does by ending the process."""
    asked = ("--install-completion", "--show-completion")
    return "_STEINLAB_COMPLETE" in os.environ or any(arg.startswith(asked) for arg in args)


def _require_command(args: list[str]) -> None:
    """Raise ``InputError`` naming the nearest command where the first word is none."""
    known = [str(command.name) for command in app.registered_commands]
    word = next((arg for arg in args if not arg.startswith("-")), None)
    if word is not None and word not in known and not _completes(args):
        one_of("command", word, known, "steinlab --help")


def _say(text: str, code: int) -> int:
    print(f"steinlab: {message(text)}", file=sys.stderr)
    return code
