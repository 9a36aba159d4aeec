"""An HTTP server on a free port that answers as it is told: what Jaeger's query API says, and what it does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent for a path; ``length`` is what its header says, where that is not true."""

    body: bytes
    status: int = 200
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """A running server: its URL, and the paths that were asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


def json_answer(document: object, status: int = 200) -> Answer:
    """Return an answer of JSON."""
    return Answer(json.dumps(document).encode(), status)


@contextmanager
def answering(answers: Mapping[str, Answer]) -> Iterator[Answering]:
    """Run a server that has these answers by path, and closes the connection without one for other paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(self.path)
            answer = answers.get(self.path)
            if answer is None:
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
            """Say nothing: the tests look at what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Answering(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
