"""How much memory and time a list of ten million objects takes: `python generated_store.py [COUNT]`.

A server on this machine lists generated keys as S3 does, 1,000 at a time, in folders, so that the order of the store is
not that of a folder. What is measured is the process that takes the list and writes its plan in 1,000 pieces.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PAGE = 1000
IN_A_FOLDER = 997
CLIENT = """
import sys, time, resource
from pathlib import Path
from detkit.runs.sources import find_items
from detkit.runs.parts import PartsFolder, Plan, WholeList
from detkit.runs.names import Names
began = time.monotonic()
def told(what):
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{what}: {time.monotonic() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU, "
          f"at most {used.ru_maxrss / 1024:.0f} MB", flush=True)
told("start")
items = find_items(["s3://pictures/photos"], print)
told(f"{len(items):,} listed")
whole = WholeList.of(items)
told("digest")
names = Names(items)
told("names of outputs")
plan = Plan({}, whole, 1000)
PartsFolder(Path(sys.argv[1])).write_plan(plan, items, names)
told("plan in 1000 pieces")
"""


def key(number: int) -> str:
    folder, file = divmod(number, IN_A_FOLDER)
    # Every tenth folder has its files beside a folder of its own: `0010.jpg` sorts before `0010/`.
    return f"photos/{folder:06d}/{file:06d}.jpg" if file % 10 else f"photos/{folder:06d}/{file:06d}/front.jpg"


class Lists(BaseHTTPRequestHandler):
    count = 10_000_000
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlparse(self.path).query)
        first = int(query.get("continuation-token", ["0"])[0])
        last = min(first + PAGE, self.count)
        entries = "".join(
            f"<Contents><Key>{key(number)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            "<ETag>&quot;1&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(first, last)
        )
        more = last < self.count
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>pictures</Name><Prefix>photos/</Prefix>'
            f"<KeyCount>{last - first}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    if len(sys.argv) > 1:
        Lists.count = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", CLIENT, folder], env=environment, check=True)
        written = sum(entry.stat().st_size for entry in os.scandir(os.path.join(folder, "items")))
        print(f"{written / Lists.count:.0f} bytes an item in the plan")


if __name__ == "__main__":
    main()
