"""How waitress refuses requests that never reach the application: as JSON, to the end, logged and counted."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from tfcaption.serving.server_metrics import Answer

LINGER_SECONDS = 30  # that the rest of a refused body is read and dropped


def channel_class(
    headers: dict[str, str], body_too_large: str, answered: Callable[[Answer], object]
) -> type[HTTPChannel]:
    """The class of a server's connections.

    Args:
        headers: of every answer.
        body_too_large: the message of status 413.
        answered: told each refusal.
    """

    class JsonErrorTask(ErrorTask):
        """Answers a request that waitress refuses: too large, or no valid HTTP."""

        def execute(self) -> None:
            fault = self.request.error
            self.channel.lingers = True
            message = body_too_large if fault.code == 413 else str(fault.body)
            body = error_body(fault.code, message)
            self.status = f"{fault.code} {fault.reason}"
            self.response_headers = [("Content-Type", "application/json"), *headers.items()]
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)
            client = str(self.channel.addr[0])
            method, path = (getattr(self.request, name, "-") for name in ("command", "path"))
            answered(Answer(client, method, path, fault.code, len(body), 0, time.time() - self.start_time))

    class LingeringChannel(HTTPChannel):
        """Reads what a client still sends of a refused request before it closes the connection.

        If it closed at once, the client's system would drop the answer, and the client only sees a broken connection.
        """

        error_task_class = JsonErrorTask
        lingers = False
        _until: float | None = None  # when reading ends, once the answer is sent

        def handle_close(self) -> None:
            if self.lingers and self._until is None and self.connected:
                self._until = time.monotonic() + LINGER_SECONDS
                self.will_close = False
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                    return
                except OSError:
                    pass  # the client has gone
            super().handle_close()

        def received(self, data: bytes) -> bool:
            if self._until is None:
                return bool(super().received(data))
            self.will_close = time.monotonic() > self._until
            return False

    return LingeringChannel


def error_body(status: int, message: str, **more: Any) -> bytes:
    """The JSON of a refusal."""
    return (json.dumps({**more, "error": {"status": status, "message": message}}) + "\n").encode()
