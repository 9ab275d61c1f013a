"""`grpc.health.v1` for orchestrators, on an address of their choice (usually loopback or the pod's)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from emr_fl_shared.errors import SettingsError
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
