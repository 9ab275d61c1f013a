"""`emr-fl`: joins the commands together. Commands only parse and print; heavy imports happen inside them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from emr_fl_shared.errors import EmrFlError, Interrupted
from emr_fl_shared.messages import set_language, tr


def main() -> NoReturn:
    """The console script."""
    # Message packs, locale and terminals differ between hospitals' machines: output is UTF-8 everywhere.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code and prints errors to standard error."""
    debug = False
    try:
        arguments, debug, language = _global_options(list(arguments))
        set_language(language)
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _fail(Interrupted(tr("interrupted", "已中断")), debug)
    except EmrFlError as error:
        return _fail(error, debug)
    except BrokenPipeError:
        return 1
    except Exception as error:
        # The text of a foreign exception could quote a record: only its type is shown without --debug.
        if debug:
            traceback.print_exc()
        wrapped = EmrFlError(
            tr("internal error", "内部错误"),
            got=type(error).__name__,
            do=tr("run again with --debug and report it", "请加 --debug 重新运行并报告"),
        )
        return _fail(wrapped, debug=False)


def _global_options(arguments: list[str]) -> tuple[list[str], bool, str | None]:
    """`--debug` and `--lang` may stand anywhere before `--`."""
    from emr_fl_shared.errors import UsageError

    rest: list[str] = []
    debug, language = False, None
    while arguments:
        argument = arguments.pop(0)
        if argument == "--":
            return [*rest, argument, *arguments], debug, language
        if argument == "--debug":
            debug = True
        elif argument == "--lang":
            if not arguments:
                raise UsageError(tr("a value is missing", "缺少值"), where="--lang", expected="zh | en")
            language = arguments.pop(0)
        elif argument.startswith("--lang="):
            language = argument.partition("=")[2]
        else:
            rest.append(argument)
    return rest, debug, language


def _dispatch(arguments: Sequence[str]) -> int:
    import click

    from emr_fl_deploy.commands import build

    try:
        outcome = build()(list(arguments), prog_name="emr-fl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "", file=sys.stderr)
        return 2
    except click.UsageError as error:
        error.show(file=sys.stderr)
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    return outcome if isinstance(outcome, int) else 0


def _fail(error: EmrFlError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"{tr('error', '错误')}: {error.render()}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
