"""The commands of a running federation: `emr-fl server start|status|stop|health|audit`,
`emr-fl client check|join|labels|policy|audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emr_fl_deploy import options
from emr_fl_shared.messages import tr


def register(server: typer.Typer, client: typer.Typer) -> None:
    """Add the commands, with help in the language in force."""
    _start(server)
    _status(server)
    _stop(server)
    _health(server)
    _server_audit(server)
    _check(client)
    _join(client)
    _labels(client)
    _policy(client)
    _client_audit(client)


def _site() -> Any:
    return typer.Option(help=tr("name of the site", "机构名"))


def _kit() -> Any:
    return typer.Option(help=tr("folder of the kit", "套件目录"))


def _config() -> Any:
    return typer.Option(help=tr("the site's settings (KIT/SITE.toml)", "机构设置（KIT/SITE.toml）"))


def _state() -> Any:
    return typer.Option(
        help=tr("folder of the site's state (beside SITE.toml)", "机构状态目录（默认在 SITE.toml 旁）")
    )


def _start(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "Run the federation: wait for sites, rounds, evaluation, checkpoints, report.",
            "运行联邦：等待机构、逐轮训练、评估、检查点、报告。",
        )
    )
    def start(
        config: Annotated[Path | None, options.settings_file()] = None,
        kit: Annotated[
            Path | None, typer.Option(help=tr("the server's kit (kits/server)", "服务器套件 (kits/server)"))
        ] = None,
        out: Annotated[
            Path | None, typer.Option(help=tr("run folder (runs/NAME-TIME)", "运行目录 (runs/NAME-TIME)"))
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help=tr("continue the run in --out", "继续 --out 中的运行"))
        ] = False,
        keep: Annotated[
            bool,
            typer.Option(
                "--continue",
                help=tr(
                    "for services: begin the run in --out, or continue it where there is one; a finished one is left alone",
                    "供系统服务使用：--out 中尚无运行则开始，已有则继续；已完成的不再运行",
                ),
            ),
        ] = False,
        assign: Annotated[list[str] | None, options.assignments()] = None,
        host: Annotated[str, typer.Option(help=tr("address to listen on", "监听地址"))] = "0.0.0.0",
        port: Annotated[
            int | None, typer.Option(help=tr("port, if not the kit's", "端口（默认取自套件）"))
        ] = None,
        health: Annotated[
            str | None,
            typer.Option(
                help=tr("answer gRPC health checks at HOST:PORT", "在 HOST:PORT 应答 gRPC 健康检查")
            ),
        ] = None,
    ) -> int:
        from emr_fl_deploy.operate.start import start

        return start(
            config,
            kit=kit,
            out=out,
            resume=resume,
            keep=keep,
            host=host,
            port=port,
            assignments=tuple(assign or ()),
            health=health,
        )


def _status(server: typer.Typer) -> None:
    @server.command(
        help=tr("Who is in, who is late, which round, which scores.", "谁已加入、谁迟到、第几轮、得分如何。")
    )
    def status(
        out: Annotated[
            Path | None, typer.Option(help=tr("run folder (the newest)", "运行目录（最新）"))
        ] = None,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from emr_fl_deploy.operate.start import newest_run
        from emr_fl_deploy.operate.status import as_json, gather, render

        data = gather(out or newest_run())
        print(as_json(data) if json else render(data))


def _stop(server: typer.Typer) -> None:
    @server.command(help=tr("Stop cleanly after the round.", "在本轮结束后正常停止。"))
    def stop(
        out: Annotated[
            Path | None, typer.Option(help=tr("run folder (the newest)", "运行目录（最新）"))
        ] = None,
    ) -> None:
        from emr_fl_deploy.operate.start import newest_run
        from emr_fl_deploy.operate.status import stop

        print(stop(out or newest_run()))


def _health(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "Ask a running server's health check; exit code 0 if it is in service.",
            "查询运行中服务器的健康检查；可用时退出码为 0。",
        )
    )
    def health(
        address: Annotated[
            str, typer.Option(help=tr("HOST:PORT given to start --health", "start --health 的 HOST:PORT"))
        ] = "127.0.0.1:9444",
    ) -> None:
        from emr_fl_server.superlink.health import ask_health

        ask_health(address)
        print(tr("in service", "可用"))


def _check(client: typer.Typer) -> None:
    @client.command(
        help=tr(
            "Everything that could go wrong, before joining: data, labels, policy, GPU, clock, connection.",
            "加入前检查一切可能出错之处：数据、标签、策略、GPU、时钟、连接。",
        )
    )
    def check(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
        taxonomy: Annotated[
            str | None, typer.Option(help=tr("labels to check against", "用于核对的标签体系"))
        ] = None,
        offline: Annotated[
            bool, typer.Option("--offline", help=tr("leave the server out", "不连接服务器"))
        ] = False,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> int:
        import json as js
        from dataclasses import asdict

        from emr_fl_client.join.check import check
        from emr_fl_client.join.place import Places
        from emr_fl_deploy.findings import finding_lines

        levels = set()
        found = []
        for finding in check(Places(site, kit, config, state), taxonomy=taxonomy, network=not offline):
            levels.add(finding.level)
            found.append(asdict(finding))
            if not json:
                for line in finding_lines(finding):
                    print(line)
        if json:
            print(js.dumps(found, ensure_ascii=False, indent=2))
        return 1 if "stop" in levels else 0


def _join(client: typer.Typer) -> None:
    @client.command(help=tr("Join the federation and stay.", "加入联邦并保持在线。"))
    def join(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
        leave_when_finished: Annotated[
            bool,
            typer.Option("--leave-when-finished", help=tr("end with the federation", "联邦结束后退出")),
        ] = False,
    ) -> int:
        from emr_fl_client.join.place import Places
        from emr_fl_client.join.supervisor import Join

        return Join(Places(site, kit, config, state).open(), leave_when_finished).run()


def _labels(client: typer.Typer) -> None:
    labels = typer.Typer(
        no_args_is_help=True,
        help=tr("the site's own mapping, labels.local.toml", "本机构的标签映射 labels.local.toml"),
    )
    client.add_typer(labels, name="labels")

    @labels.command(
        help=tr("Check the mapping and sign it with the kit's key.", "核对映射并用套件密钥签名。")
    )
    def sign(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        taxonomy: Annotated[str | None, _label_set()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_client.own_labels import sign_mapping
        from emr_fl_client.own_signature import signature_path

        found, path = Places(site, kit, config).local_labels()
        mapping = sign_mapping(path, found.node_key_path, taxonomy)
        print(tr(f"signed: {signature_path(path)}", f"已签名：{signature_path(path)}"))
        print(mapping.summary())

    @labels.command(help=tr("Check the mapping and its signature.", "核对映射及其签名。"))
    def check(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        taxonomy: Annotated[str | None, _label_set()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_client.own_labels import read_mapping
        from emr_fl_shared.kit.keys import load_node_public_key
        from emr_fl_shared.labels import load_taxonomy

        found, path = Places(site, kit, config).local_labels()
        mapping = read_mapping(path, public_key=load_node_public_key(found.public_key.encode()))
        mapping.bind(load_taxonomy(taxonomy or mapping.taxonomy))
        print(mapping.summary())


def _label_set() -> Any:
    return typer.Option(
        help=tr(
            "file of the label set, if not the built-in one that the mapping names",
            "标签体系文件（默认为映射中写明的内置体系）",
        )
    )


def _policy(client: typer.Typer) -> None:
    policy = typer.Typer(
        no_args_is_help=True,
        help=tr(
            "what may leave: the site's own policy, POLICY.toml", "允许外传的内容：本机构的策略 POLICY.toml"
        ),
    )
    client.add_typer(policy, name="policy")

    @policy.command(help=tr("Check the policy and sign it with the kit's key.", "核对策略并用套件密钥签名。"))
    def sign(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_client.own_policy import sign_policy
        from emr_fl_client.own_signature import signature_path

        found, path = Places(site, kit, config).own_policy()
        signed = sign_policy(path, found.node_key_path)
        print(tr(f"signed: {signature_path(path)}", f"已签名：{signature_path(path)}"))
        print(f"{tr('version', '版本')} {signed.version}, SHA-256 {signed.digest()}")

    @policy.command(help=tr("Check the policy and its signature.", "核对策略及其签名。"))
    def check(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_client.own_policy import read_policy
        from emr_fl_shared.kit.keys import load_node_public_key

        found, path = Places(site, kit, config).own_policy()
        signed = read_policy(path, public_key=load_node_public_key(found.public_key.encode()))
        print(tr(f"{path}: the site's signature fits", f"{path}：本机构签名相符"))
        print(f"{tr('version', '版本')} {signed.version}, SHA-256 {signed.digest()}")

    @policy.command(
        help=tr("The policy in force, all rules, as TOML.", "当前生效的策略：全部规则，TOML 格式。")
    )
    def show(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_deploy.operate.site_policy import show

        for line in show(Places(site, kit, config, state).open()):
            print(line)

    @policy.command(help=tr("Kill switch: nothing leaves from now on.", "紧急停止：自此刻起不外传任何内容。"))
    def stop(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_deploy.operate.site_policy import switch

        print(switch(Places(site, kit, config, state), on=True))

    @policy.command(help=tr("Take the kill switch back.", "解除紧急停止。"))
    def resume(
        site: Annotated[str, _site()],
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_deploy.operate.site_policy import switch

        print(switch(Places(site, kit, config, state), on=False))


def _verify() -> Any:
    return typer.Option("--verify", help=tr("only say whether the log is whole", "只核验日志是否完整"))


def _export() -> Any:
    return typer.Option(
        help=tr("write the entries to a .csv or .jsonl file", "把记录写入 .csv 或 .jsonl 文件")
    )


def _client_audit(client: typer.Typer) -> None:
    @client.command(
        help=tr(
            "What left this hospital: the audit log, every entry checked. Stops (3) if it was tampered with.",
            "本机构外传了什么：逐条核验的审计日志。若被篡改则停止 (3)。",
        )
    )
    def audit(
        site: Annotated[str | None, _site()] = None,
        kit: Annotated[Path | None, _kit()] = None,
        config: Annotated[Path | None, _config()] = None,
        state: Annotated[Path | None, _state()] = None,
        log: Annotated[
            Path | None,
            typer.Option(
                help=tr(
                    "a log by its path (a simulated site's, a copy with its .head.json), signed by whichever key",
                    "按路径指定日志（仿真机构，或连同 .head.json 的副本），不限签名密钥",
                )
            ),
        ] = None,
        verify: Annotated[bool, _verify()] = False,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
        export: Annotated[Path | None, _export()] = None,
    ) -> None:
        from emr_fl_client.join.place import Places
        from emr_fl_deploy.operate.audit import Shown, audit
        from emr_fl_deploy.operate.site_policy import log_of
        from emr_fl_shared.errors import UsageError

        if (site is None) == (log is None):
            raise UsageError(tr("give --site or --log, one of the two", "请给出 --site 或 --log 之一"))
        path, public = (log, None) if log is not None else log_of(Places(str(site), kit, config, state))
        for line in audit(path, Shown(verify, json, export), public=public):
            print(line)


def _server_audit(server: typer.Typer) -> None:
    @server.command(
        help=tr(
            "What the server accepted and refused: its own log, every entry checked. Stops (3) if it was tampered with.",
            "服务器接受与拒绝了什么：逐条核验的日志。若被篡改则停止 (3)。",
        )
    )
    def audit(
        run: Annotated[
            Path | None, typer.Argument(help=tr("run folder (the newest)", "运行目录（最新）"))
        ] = None,
        kit: Annotated[
            Path | None,
            typer.Option(
                help=tr("the server's kit, whose key must have signed it", "服务器套件，其密钥须为签名者")
            ),
        ] = None,
        verify: Annotated[bool, _verify()] = False,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
        export: Annotated[Path | None, _export()] = None,
    ) -> None:
        from emr_fl_deploy.operate.audit import Shown, audit, signed_by_certificate
        from emr_fl_deploy.operate.start import newest_run
        from emr_fl_server.admission import AUDIT_FILE
        from emr_fl_shared.kit import read_server_kit

        public = None
        if kit is not None:
            public = signed_by_certificate(read_server_kit(kit).certificate_path.read_bytes())
        path = (run or newest_run()) / "audit" / AUDIT_FILE
        for line in audit(path, Shown(verify, json, export), public=public):
            print(line)
