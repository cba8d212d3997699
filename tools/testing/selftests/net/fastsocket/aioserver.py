#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# aioserver.py PORT WORKERS: a server of HTTP by asyncio, whose workers are
# forked, and share a listening socket. With "fd" for PORT it is the first that
# a service manager has handed over.

import asyncio
import os
import signal
import socket
import sys

ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nserved\n"


async def answer(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(listener):
    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


def main():
    port, workers = sys.argv[1], int(sys.argv[2])
    if port == "fd":
        listener = socket.socket(fileno=3)
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", int(port)))
        listener.listen(1024)
    pids = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            asyncio.run(serve(listener))
            os._exit(1)
        pids.append(pid)

    def stop(*_):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    os.wait()
    stop()


main()
