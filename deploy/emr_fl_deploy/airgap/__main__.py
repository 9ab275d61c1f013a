"""`python -m emr_fl_deploy.airgap --wheel W --constraints C --out DIR [--tar]`, as the Makefile calls it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emr_fl_deploy.airgap.bundle import make_bundle, pack
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.messages import set_language, tr


def main(arguments: Sequence[str]) -> int:
    """Make the bundle and say what it is; returns the exit code."""
    parser = argparse.ArgumentParser(prog="emr_fl_deploy.airgap", description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--constraints", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tar", action="store_true")
    parser.add_argument("--lang")
    given = parser.parse_args(arguments)
    set_language(given.lang)
    try:
        bundle = make_bundle(given.wheel, given.constraints, given.out)
        print(
            tr(
                f"{bundle.folder}: {bundle.wheels} wheels, {bundle.size / 1e6:.0f} MB",
                f"{bundle.folder}：{bundle.wheels} 个 wheel，{bundle.size / 1e6:.0f} MB",
            )
        )
        print(f"SHA256SUMS  {bundle.digest}")
        if bundle.without_licence:
            names = ", ".join(bundle.without_licence)
            print(tr(f"these name no licence: {names}", f"未注明许可证：{names}"))
        if given.tar:
            archive = given.out.with_name(given.out.name + ".tar")
            print(f"{archive}  {pack(given.out, archive)}")
    except EmrFlError as error:
        print(f"{tr('error', '错误')}: {error.render()}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
