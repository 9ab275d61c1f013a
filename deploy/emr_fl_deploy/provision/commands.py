"""The commands around kits: `emr-fl server provision|approve|renew|revoke|kits`, `emr-fl client request`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emr_fl_shared.messages import tr


def register(server: typer.Typer, client: typer.Typer) -> None:
    """Add the commands, with help in the language in force."""
    _provision(server)
    _approve(server)
    _renew(server)
    _revoke(server)
    _kits(server)
    _request(client)


def _provision(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "Make a certificate authority, the server's kit and one kit per site.",
            "生成证书机构、服务器套件和每个机构的套件。",
        )
    )
    def provision(
        federation: Annotated[
            Path, typer.Argument(help=tr("settings with a [server] section", "含 [server] 段的设置文件"))
        ],
        out: Annotated[Path, typer.Option(help=tr("folder to make", "要创建的目录"))],
        requests: Annotated[
            bool,
            typer.Option(
                "--requests",
                help=tr("make no site's key: each site makes its own", "不生成机构密钥：由各机构自行生成"),
            ),
        ] = False,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from emr_fl_deploy.provision.provisioning import provision
        from emr_fl_shared.config import load_settings

        made = provision(load_settings(federation), out, keys="requests" if requests else "central")
        if json:
            _print_json(
                {
                    "kits": str(made.kits),
                    "federation": made.federation,
                    "federation_id": made.federation_id,
                    "federation_key": made.federation_key,
                    "sites": list(made.sites),
                    "keys": made.keys,
                    "not_after": made.not_after.isoformat(),
                }
            )
            return
        print(tr(f"kits: {made.kits}", f"套件：{made.kits}"))
        print(tr(f"federation key: {made.federation_key}", f"联邦密钥指纹：{made.federation_key}"))
        print(tr(f"valid until {made.not_after:%Y-%m-%d}", f"有效期至 {made.not_after:%Y-%m-%d}"))
        if made.keys == "central":
            print(
                tr(
                    "The sites' private keys were made here, centrally. That is for trials: whoever holds this folder "
                    "can act as any hospital. For patients' data use --requests, and let each hospital make its key "
                    "with `emr-fl client request`.",
                    "各机构的私钥在此集中生成，仅适合试用：持有本目录者可冒充任何医院。处理患者数据时请使用 --requests，"
                    "由各医院用 `emr-fl client request` 自行生成密钥。",
                )
            )
        else:
            print(
                tr(
                    "No site's key was made. At each hospital: `emr-fl client request --site NAME --out DIR`; "
                    f"then here: `emr-fl server approve request.json --kits {made.kits}`.",
                    "未生成机构密钥。各医院执行 `emr-fl client request --site 机构名 --out 目录`；"
                    f"然后在此执行 `emr-fl server approve request.json --kits {made.kits}`。",
                )
            )


def _approve(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "Give a kit to a site that made its own key.",
            "为自行生成密钥的机构签发套件。",
        )
    )
    def approve(
        request: Annotated[
            Path, typer.Argument(help=tr("the site's request.json", "机构发来的 request.json"))
        ],
        kits: Annotated[Path, typer.Option(help=tr("folder of kits", "套件目录"))],
        fingerprint: Annotated[
            str | None,
            typer.Option(help=tr("refuse any other key than this", "只接受此指纹的密钥")),
        ] = None,
        replace: Annotated[
            bool,
            typer.Option("--replace", help=tr("revoke the site's earlier key", "吊销该机构原有的密钥")),
        ] = False,
    ) -> None:
        from emr_fl_deploy.provision.changes import approve

        done = approve(request, kits, replace=replace, fingerprint=fingerprint)
        print(tr(f"kit: {done.written[0]}", f"套件：{done.written[0]}"))
        print(tr(f"site key: {done.fingerprint}", f"机构密钥指纹：{done.fingerprint}"))
        print(tr(f"federation key: {done.federation_key}", f"联邦密钥指纹：{done.federation_key}"))
        print(
            tr(
                "Compare both with the hospital by telephone, then send it the folder; it copies the files next to its "
                "node.key.",
                "请与医院电话核对两个指纹，然后把该目录发给医院；医院把文件复制到 node.key 所在的目录。",
            )
        )


def _renew(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "New dates (and certificate) for a site, `server` or `all`; also completes an interrupted command.",
            "为某机构、server 或 all 续期（含证书）；也用于补完被中断的命令。",
        )
    )
    def renew(
        name: Annotated[str, typer.Argument(help=tr("a site, server or all", "机构名、server 或 all"))],
        kits: Annotated[Path, typer.Option(help=tr("folder of kits", "套件目录"))],
        config: Annotated[
            Path | None,
            typer.Option(help=tr("take [server] from these settings", "从该设置文件读取新的 [server]")),
        ] = None,
        new_key: Annotated[
            bool,
            typer.Option(
                "--new-key", help=tr("new keys too, where made centrally", "同时更换集中生成的密钥")
            ),
        ] = False,
    ) -> None:
        from emr_fl_deploy.provision.changes import renew
        from emr_fl_shared.config import load_settings

        done = renew(kits, name, new_key=new_key, settings=load_settings(config) if config else None)
        for folder in done.written:
            print(tr(f"kit to hand over: {folder}", f"待交付的套件：{folder}"))
        if done.left_out:
            names = ", ".join(done.left_out)
            print(tr(f"left out (revoked or not approved): {names}", f"未续期（已吊销或未批准）：{names}"))


def _revoke(server: typer.Typer) -> None:
    @server.command(
        help=tr("Shut a site out; a running server need not be restarted.", "吊销某机构；无需重启服务器。")
    )
    def revoke(
        name: Annotated[str, typer.Argument(help=tr("the site", "机构名"))],
        kits: Annotated[Path, typer.Option(help=tr("folder of kits", "套件目录"))],
        reason: Annotated[str, typer.Option(help=tr("for the ledger", "记入账本的原因"))] = "",
    ) -> None:
        from emr_fl_deploy.provision.changes import revoke

        done = revoke(kits, name, reason)
        print(
            tr(
                f"{name} is revoked, list of sites {done.revision}",
                f"{name} 已吊销，机构名单版本 {done.revision}",
            )
        )
        print(
            tr(
                "If the server runs from a copy, copy server/sites.json.sig and then server/sites.json there now.",
                "若服务器使用的是副本，请立即依次复制 server/sites.json.sig 与 server/sites.json。",
            )
        )


def _kits(server: typer.Typer) -> None:
    @server.command(help=tr("The kits, their state and days left.", "套件一览：状态与剩余天数。"))
    def kits(
        folder: Annotated[Path, typer.Option("--kits", help=tr("folder of kits", "套件目录"))],
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from dataclasses import asdict

        from emr_fl_deploy.provision.overview import overview

        lines = overview(folder)
        if json:
            _print_json(
                [
                    asdict(line) | {"not_after": line.not_after.isoformat() if line.not_after else None}
                    for line in lines
                ]
            )
            return
        states = {
            "valid": tr("valid", "有效"),
            "expires soon": tr("expires soon", "即将到期"),
            "expired": tr("expired", "已过期"),
            "not yet valid": tr("not yet valid", "尚未生效"),
            "revoked": tr("revoked", "已吊销"),
            "not issued": tr("not issued", "未签发"),
        }
        width = max(len(line.name) for line in lines)
        for line in lines:
            until = f"{line.not_after:%Y-%m-%d}" if line.not_after else "-"
            days = "-" if line.days_left is None else str(line.days_left)
            start = (line.fingerprint or "-")[:16]
            print(f"{line.name:{width}}  {until:10}  {days:>5}  {start:16}  {states[line.state]}")


def _request(client: typer.Typer) -> None:
    @client.command(
        help=tr(
            "Make this site's own key and a request for a kit; the key stays here.",
            "在本机构生成密钥和套件申请；密钥不离开本机构。",
        )
    )
    def request(
        site: Annotated[str, typer.Option(help=tr("name of this site", "本机构名"))],
        out: Annotated[Path, typer.Option(help=tr("folder to make", "要创建的目录"))],
    ) -> None:
        from emr_fl_deploy.provision.requests import make_request

        fingerprint = make_request(site, out)
        print(tr(f"send to the coordinator: {out / 'request.json'}", f"请发给协调方：{out / 'request.json'}"))
        print(tr(f"site key: {fingerprint}", f"机构密钥指纹：{fingerprint}"))
        print(
            tr(
                "Read the fingerprint to the coordinator by telephone. Keep node.key here; send it to nobody.",
                "请通过电话向协调方报读指纹。node.key 请留在本机，不要发给任何人。",
            )
        )


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False, indent=2))
