"""The site's own process: takes the SuperNode's tasks and answers them with the code that is installed here.

Before a task is looked at, the bundle that the server submitted is checked: it must be the federation's own, signed, and
hold no code (`emr_fl_shared.kit.bundle`). It is never unpacked and nothing of it is imported.

What it says about itself goes to standard output as JSON lines, for the supervisor beside it; never anything of a record.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from flwr.clientapp import ClientApp

from emr_fl_client.app import client_app
from emr_fl_client.egress import Door
from emr_fl_client.join.place import Place, Places
from emr_fl_client.site import Site
from emr_fl_shared.errors import EmrFlError, PolicyError
from emr_fl_shared.kit import check_bundle
from emr_fl_shared.loopback import Loopback
from emr_fl_shared.memory import release_free_memory
from emr_fl_shared.messages import set_language
from emr_fl_shared.processes import no_core_dumps
from emr_fl_shared.tasks import CLIENT_TASK, Endpoint, Task, TaskLost, TaskQueue


def run(given: dict[str, Any]) -> NoReturn:
    """Work until the process is ended."""
    place = Places(given["site"], Path(given["kit"]), Path(given["config"]), Path(given["state"])).open()
    site = Site(
        place.name,
        place.settings,
        place.state,
        place.pseudonym_key(),
        _say,
        local_labels=place.local_labels,
        identity=place.identity(),
    )
    door = Door(place.name, place.settings.policy, place.receipts)
    app = client_app(lambda _: (site, door))
    queue = TaskQueue(Endpoint(int(given["port"]), Loopback(Path(given["folder"]))), CLIENT_TASK)
    _say({"doing": "ready"})
    while True:
        try:
            with queue.take() as task:
                answer_task(queue, task, place, door, app)
        except TaskLost as lost:
            _say({"doing": "lost", "reply": lost.reply})
        release_free_memory()
        _say({"doing": "waiting"})


def answer_task(queue: TaskQueue, task: Task, place: Place, door: Door, app: ClientApp) -> None:
    """Receive, check the bundle, work, hand the reply over."""
    _say({"doing": "receiving"})
    received = task.receive(queue)
    try:
        check_bundle(received.bundle, place.kit.signing_key, federation_id=place.kit.document.federation_id)
    except PolicyError as error:
        _say({"doing": "refused", "reason": error.render()})
        reply = door.failed(received.message, error)
    else:
        _say({"doing": received.message.metadata.message_type})
        reply = app(received.message, received.context)
    _say({"doing": "sending"})
    task.answer(received, reply)


def _say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Process entry: one JSON argument (site, kit, config, state, folder, port, lang)."""
    no_core_dumps()
    given = json.loads(sys.argv[1])
    set_language(given["lang"])
    try:
        run(given)
    except EmrFlError as error:
        _say({"doing": "failed", "reason": error.render(), "code": error.exit_code})
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
