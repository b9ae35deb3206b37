"""The command `qcore`: one file a command, and here what is the same for all of them.

Exit codes: 0 done and, where asked, verified; 1 a check found differences; 2 wrong use or bad
input, with one sentence on stderr that says what and where; 130 interrupted. A traceback means a
defect of ours.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer

import qcore
from qcore.__main__ import INTERRUPTED
from qcore.cli.shared import printable

app = typer.Typer(
    name="qcore",
    help="Quantize .tflite models, and see exactly what the integers do.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", metavar="", help="Print the version and exit."
    ),
) -> None:
    if version:
        typer.echo(f"qcore {qcore.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


class _ReaderGone(Exception):
    """Standard output was closed by its reader. typer would exit with 1 for a BrokenPipeError."""


def _unpiped(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderGone from None

    return guarded


def _register() -> None:
    from qcore.cli import (
        advise,
        calibrate,
        certify,
        check,
        compare,
        diff,
        explain,
        fingerprint,
        inspect,
        mixed,
        quantize,
        run,
        sensitivity,
        sweep,
        verify,
    )

    for module in (
        inspect, calibrate, quantize, compare, sweep, sensitivity, mixed, verify, certify,
        check, advise, run, explain, fingerprint, diff,
    ):  # fmt: skip
        name = module.__name__.rsplit(".", 1)[-1]
        app.command(name, epilog=module.EXAMPLE)(_unpiped(module.command))


# Usage errors are what typer.BadParameter is one of; typer does not export their common base.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """What scripts call that were installed before `qcore.__main__` was the entry."""
    from qcore.__main__ import main as entry

    entry()


def invoke(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Expected failures become one sentence on stderr."""
    from kernels.errors import KernelError
    from qcore.errors import QcoreError
    from tflite_schema.errors import SchemaError

    try:
        with warnings.catch_warnings():
            # Of infinities and NaN, which are what a float kernel is to give.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="kernels|qcore")
            code = app(list(arguments), prog_name="qcore", standalone_mode=False)
    except _ReaderGone:
        return _reader_gone()
    except (QcoreError, SchemaError, KernelError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(_os_sentence(error))
    except MemoryError as error:
        return _refuse(f"there is not enough memory: {error or 'an allocation failed'}")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "qcore"
        said = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        return _refuse(f"{said}; see `{where} --help`")
    if code == 130:
        sys.stderr.write(INTERRUPTED)
    return int(code or 0)


def _refuse(sentence: str) -> int:
    said = printable(" ".join(sentence.split()).rstrip("."))
    sys.stderr.write(f"qcore: {said}\n".encode(errors="backslashreplace").decode())
    return 2


# What the system refuses, in our words: what, what to do.
REFUSALS = {
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.EACCES: "permission denied; check who may read or write it",
    errno.EPERM: "permission denied; check who may read or write it",
    errno.EROFS: "this file system is only for reading; write somewhere else",
    errno.EISDIR: "is a folder; give a file",
    errno.ENOTDIR: "a part of this path is no folder; check the path",
    errno.ENAMETOOLONG: "the name is too long; shorten it",
    errno.ENOSPC: "no space left on the device; free some and run again",
    errno.EDQUOT: "your share of the disk is used up; free some and run again",
    errno.EFBIG: "the file would be larger than files may be here; write somewhere else",
    errno.EIO: "the device failed to read or write; look at the system's log",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def _os_sentence(error: OSError) -> str:
    """What the system refused: where, what, what to do."""
    if error.errno is None or error.strerror is None:
        return str(error)
    known = error.strerror == os.strerror(error.errno)  # Python has sentences of its own too
    what = REFUSALS.get(error.errno, error.strerror) if known else error.strerror
    name = error.filename
    return f"{os.fsdecode(name)}: {what}" if isinstance(name, (str, bytes, os.PathLike)) else what


def _reader_gone() -> int:
    """Be quiet (`| head` is no error), and let the flush at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # what the shell reports for a program that SIGPIPE ended


_register()
