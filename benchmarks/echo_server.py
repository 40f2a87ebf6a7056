"""A server that only reads and echoes: the cost of the API is not in the figures.

Answers every POST with 201 and the body it got, a token to whoever asks for one, and 404 to the rest. Runs in a
process of its own on loopback; ends with its standard input. An argument makes every answer but a token so many
seconds late, as an API far away is.
"""

from __future__ import annotations

import asyncio
import sys

LATENCY = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
TOKEN = b'{"access_token":"t","token_type":"Bearer","expires_in":3600}'


class Echo(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, keep-alive, nothing else."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = (
                int(head[at + 15 : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None])
                if at >= 0
                else 0
            )
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post") and b"/token" in head.split(b"\r\n", 1)[0]:
            status, answer = b"200 OK", TOKEN
        elif head.startswith(b"post"):
            status, answer = b"201 Created", body
        else:
            status, answer = b"404 Not Found", b"{}"
        parts = [
            b"HTTP/1.1 "
            + status
            + b"\r\ncontent-type: application/json\r\ncontent-length: "
            + str(len(answer)).encode()
            + b"\r\n\r\n",
            answer,
        ]
        if LATENCY and answer is not TOKEN:
            asyncio.get_running_loop().call_later(LATENCY, self.transport.writelines, parts)
        else:
            self.transport.writelines(parts)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
