"""The process that runs the rounds of a real federation: takes Flower's server task and stays until it is done.

Ends with 0 (done or stopped), the exit code of an `EmrFlError` (told on standard error), or by a signal; the supervisor
starts it again after anything but an error that it told.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from emr_fl_shared.errors import EmrFlError, Interrupted
from emr_fl_shared.messages import tr

TOLD = {1: 65, 2: 66, 3: 67, 130: 68}
"""Exit codes of errors that were told, by the code that the command ends with: other codes are crashes."""


def run(given: dict[str, Any]) -> int:
    """Run or continue the federation in `given["out"]`."""
    from emr_fl_server.app import run_federation
    from emr_fl_server.console import RunConsole
    from emr_fl_server.coordinator import finish, is_sample, make_federation, write_outcome
    from emr_fl_server.evaluation.held_out import HeldOutSets
    from emr_fl_server.report.summary import summary
    from emr_fl_server.superlink.presence import FilePresence
    from emr_fl_server.superlink.status import STOP_FILE, ProgressWriter
    from emr_fl_shared.config import settings_from
    from emr_fl_shared.config.loading import read_toml
    from emr_fl_shared.kit import read_server_kit
    from emr_fl_shared.loopback import Loopback
    from emr_fl_shared.secure_aggregation.statements import Trust, signed_registry
    from emr_fl_shared.tasks import SERVER_TASK, Endpoint, TaskQueue

    out = Path(given["out"])
    folder = Path(given["folder"])
    began = time.monotonic()
    settings = settings_from(read_toml(out / "settings.toml"), where=str(out / "settings.toml"))
    held_out = HeldOutSets(settings)
    endpoint = Endpoint(int(given["port"]), Loopback(folder))
    federation = make_federation(settings, out, held_out)
    federation.site_names = tuple(given["sites"])
    federation.waits = True
    kit = read_server_kit(Path(given["kit"]))
    federation.trust = Trust(kit.signing_key, kit.document.federation_id)
    federation.signed_registry = partial(signed_registry, kit.folder)
    federation.presence = FilePresence(folder)
    federation.stop_requested = (folder / STOP_FILE).exists
    with RunConsole() as console:
        observer = ProgressWriter(folder, console.observer(settings.federation.name))
        observer.set(phase="starting", rounds=federation.rounds)
        with TaskQueue(endpoint, SERVER_TASK).take() as task:
            grid, context = task.grid()
            try:
                outcome = run_federation(grid, federation, observer)
                if federation.stop_requested():
                    raise Interrupted(
                        tr(
                            "stopped as asked; complete rounds are kept", "已按要求停止；已完成的轮次均已保存"
                        ),
                        where=str(out),
                        do=f"emr-fl server start --resume --out {out}",
                    )
                console.say("attacking the final model …", "正在攻击最终模型 …")
                observer.set(phase="evaluating")
                results = finish(
                    federation,
                    outcome,
                    held_out,
                    began=began,
                    engine="federation",
                    sample_data=is_sample(settings),
                )
                write_outcome(out, federation, outcome, results)
                observer.set(phase="finished")
            except BaseException as error:
                if isinstance(
                    error, Interrupted
                ):  # sites hear it from the gateway, also before the first round
                    observer.set(phase="stopped")
                task.finish(context, failed=True)
                raise
            task.finish(context)
    print(summary(results, out), flush=True)
    return 0


def main() -> None:
    """Process entry: one JSON argument (out, folder, port, sites, lang)."""
    from emr_fl_shared.messages import set_language

    given = json.loads(sys.argv[1])
    set_language(given["lang"])
    try:
        code = run(given)
    except EmrFlError as error:
        print(f"{tr('error', '错误')}: {error.render()}", file=sys.stderr, flush=True)
        code = TOLD[error.exit_code]
    # Flower's and torch's threads must not keep the process: everything is on disk.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
