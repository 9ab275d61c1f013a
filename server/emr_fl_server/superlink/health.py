"""`grpc.health.v1` for orchestrators, on an address of their choice (usually loopback or the pod's)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from emr_fl_shared.errors import FederationError, SettingsError
from emr_fl_shared.messages import tr

SERVICE = "emr-fl"


class HealthServer:
    """Serves the overall status (`""`) and that of `emr-fl`: SERVING while SuperLink and gateway are alive."""

    def __init__(self, address: str) -> None:
        self._servicer = HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2), options=(("grpc.so_reuseport", 0),))
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise SettingsError(
                tr("the health check can't listen there", "健康检查无法监听该地址"),
                where="--health",
                got=address,
                expected="HOST:PORT",
            )
        self.set(False)
        self._server.start()

    def set(self, serving: bool) -> None:
        """Change the status."""
        state = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            self._servicer.set(service, state.SERVING if serving else state.NOT_SERVING)

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop(grace=0.5)


def ask_health(address: str, seconds: float = 5.0) -> None:
    """Ask a health server at HOST:PORT, as an orchestrator does. Raises `FederationError` unless it says SERVING."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=seconds, wait_for_ready=False)  # pyright: ignore[reportAttributeAccessIssue]
        except grpc.RpcError as error:
            raise FederationError(
                tr("nobody answers the health check", "健康检查无人应答"),
                where=address,
                got=error.code().name if isinstance(error, grpc.Call) else type(error).__name__,
                do=tr(
                    "is the server running, with the same --health HOST:PORT?",
                    "服务器是否以相同的 --health HOST:PORT 运行？",
                ),
            ) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise FederationError(
            tr("the server is not in service", "服务器当前不可用"),
            where=address,
            got=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status),
            do=tr("emr-fl server status says more", "详见 emr-fl server status"),
        )
