"""The other end of the channels: a webhook and Alertmanager's API on one port, in whatever weather.

What a receiver has read it may have taken, whether its answer arrived or not: so it keeps messages by the
id that lets it tell a repetition, and counts the repetitions. It knows nothing of the executor's tables.
"""

import dataclasses
import datetime
import itertools
import json
import socket
import struct
import threading
import time

WEATHER = ("fine", "delay", "429", "500", "slow", "reset", "down")
HEAD = "HTTP/1.1 {} x\r\nContent-Length: 0\r\nConnection: close\r\n{}\r\n"


@dataclasses.dataclass
class Told:
    """What Alertmanager was told last of an alert."""

    labels: dict
    is_over: bool
    # Which connection said so: threads may overtake each other.
    order: int


class Receiver:
    """Answers until `close`. `weather` may be changed at any time."""

    def __init__(self, random, patience_s):
        self.random = random
        self.patience_s = patience_s
        self.weather = "fine"
        self.lock = threading.Lock()
        # Path to number to body, in the order of arrival; what comes again under its number comes once.
        self.boxes = {"/hook": {}, "/api/v2/alerts": {}}
        self.repeated = 0
        self.order = itertools.count()
        self.answers = dict.fromkeys(WEATHER, 0)
        # Alertmanager's open alerts are told again and again, by no number of their own: label sets with their end.
        self.told_last = {}
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def change(self, weather):
        """Being down is a closed port."""
        was, self.weather = self.weather, weather
        if weather == "down" and was != "down":
            self.answers["down"] += 1
            # Wakes the one who accepts: close alone does not.
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        if was == "down" and weather != "down":
            self.listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def close(self):
        self.change("down")

    def _serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection, next(self.order)), daemon=True).start()

    def _answer(self, connection, order):
        with connection:
            try:
                connection.settimeout(30)
                path, number, body = read_request(connection.makefile("rb"))
                self._reply(connection, path, number, body, order)
            except (OSError, ValueError, IndexError, KeyError):
                pass

    def _reply(self, connection, path, number, body, order):
        weather = self.weather
        with self.lock:
            self.answers[weather] += 1
            chance = self.random.random()
        if weather in ("429", "500"):
            more = "Retry-After: 1\r\n" if weather == "429" else ""
            connection.sendall(HEAD.format(weather, more).encode())
            return
        if weather in ("fine", "delay") or chance < 0.5:
            self._keep(path, number, body, order)
        if weather == "delay":
            time.sleep(self.patience_s * chance / 2)
        if weather == "slow":
            # Longer than anybody waits.
            until = time.monotonic() + 3 * self.patience_s
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while time.monotonic() < until:
                connection.sendall(b"X-Drip: 1\r\n")
                time.sleep(0.05)
        elif weather == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.sendall(HEAD.format(200, "").encode())

    def _keep(self, path, number, body, order):
        with self.lock:
            if path == "/api/v2/alerts":
                now = datetime.datetime.now(datetime.timezone.utc)
                for alert in body:
                    # While it fires, its end lies ahead.
                    is_over = datetime.datetime.fromisoformat(alert["endsAt"]) <= now
                    key = json.dumps(alert["labels"], sort_keys=True)
                    known = self.told_last.get(key)
                    if known is None or known.order < order:
                        self.told_last[key] = Told(alert["labels"], is_over, order)
                if number.endswith("/0"):
                    return
            box = self.boxes[path]
            if number in box:
                self.repeated += 1
            else:
                box[number] = body


def read_request(reader):
    path = reader.readline().decode().split(" ")[1]
    headers = {}
    while line := reader.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers["content-length"]))
    return path, headers["idempotency-key"], json.loads(body)
