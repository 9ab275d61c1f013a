"""`emr-fl`: joins the commands together. Commands only parse and print; heavy imports happen inside them."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from emr_fl_shared.errors import EmrFlError, Interrupted
from emr_fl_shared.messages import set_language, tr
from emr_fl_shared.processes import no_core_dumps


def main() -> NoReturn:
    """The console script."""
    # Message packs, locale and terminals differ between hospitals' machines: output is UTF-8 everywhere.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")
    # A cluster's or a container's stop ends as Ctrl-C does: complete rounds kept, no process left, one message.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    no_core_dumps()
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
        return _wrong_usage(error)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    if outcome == Interrupted.exit_code:  # typer turns Ctrl-C into this number
        raise KeyboardInterrupt
    return outcome if isinstance(outcome, int) else 0


def _wrong_usage(error: Any) -> int:
    """Click's own message in English; in Chinese, which click does not speak, ours."""
    import click

    from emr_fl_shared.errors import UsageError
    from emr_fl_shared.messages import language

    if language() != "zh":
        error.show(file=sys.stderr)
        return int(error.exit_code)
    where, got, message = "", "", "命令用法错误"
    if isinstance(error, click.NoSuchOption):
        message, got = "没有这个选项", error.option_name
    elif isinstance(error, click.exceptions.NoSuchCommand):
        message, got = "没有这个命令", error.command_name
    elif isinstance(error, click.BadOptionUsage):
        message, where = "选项用法错误", error.option_name
    elif isinstance(error, click.BadParameter):  # of which a missing one is a kind
        message = "缺少参数" if isinstance(error, click.MissingParameter) else "取值不合法"
        hint = error.param_hint or (
            error.param.get_error_hint(error.ctx) if error.param and error.ctx else ""
        )
        where = hint if isinstance(hint, str) else " / ".join(hint)
    command = error.ctx.command_path if error.ctx else "emr-fl"
    return _fail(UsageError(message, where=where, got=got, do=f"{command} --help"), debug=False)


def _fail(error: EmrFlError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"{tr('error', '错误')}: {error.render()}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
