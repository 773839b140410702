"""A tracker that knows idempotency keys. Appends what it gets to the file given, one JSON line each,
loses its first answer after taking the ticket, and is overloaded once. Prints its port; ends with its
standard input."""

import http.server
import json
import sys
import threading

seen = {}
requests = 0


class Tracker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global requests
        requests += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if requests == 1:
            self.send_error(503)
            return
        is_new = key not in seen
        ticket = seen.setdefault(key, f"T-{len(seen) + 1}")
        with open(sys.argv[1], "a") as log:
            token = self.headers["Authorization"]
            log.write(json.dumps({"key": key, "new": is_new, "token": token, "body": body}) + "\n")
        if requests == 2:
            self.close_connection = True
            return
        answer = json.dumps({"id": ticket}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
