"""REST held to its own OpenAPI document.

The document is validated, and requests are drawn from it (schemathesis): every answer must have a
status, a content type and a body that the document knows, and none may be a server error.

    LEAFCUTTER_BIN=target/release/leafcutter python tests/rest/properties.py
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

from openapi_spec_validator import validate

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LEAFCUTTER_BIN", str(ROOT / "target" / "release" / "leafcutter"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)
START_SECONDS = 30
# Together about 80 s; a budget that is used up is no failure.
RUNS = (
    # A drawn setting may shut everybody out, so settings are drawn in an application of their own.
    ("live", ["--exclude-operation-id", "putSettings"], 60),
    ("LiveApp", ["--include-operation-id", "putSettings", "--phases", "coverage,fuzzing"], 20),
)


def main():
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [BINARY, "--listen", "127.0.0.1:0", "--media-port", "0", "--workers", "1"],
            cwd=directory,
            env={**os.environ, "LEAFCUTTER_LOG": "warn"},
            stdout=subprocess.PIPE,
            text=True,
        )
        guard = threading.Timer(START_SECONDS, server.kill)
        guard.start()
        line = server.stdout.readline()
        guard.cancel()
        try:
            origin = line.strip().removeprefix("listening on ")
            assert origin.startswith("http://"), f"the server did not start: {line!r}"
            failed = [app for app, *_ in RUNS if not hold(origin, app, directory)]
            server.send_signal(signal.SIGTERM)
            code = server.wait(START_SECONDS)
        finally:
            server.kill()
    assert code == 0, f"the server ended with {code}"
    if failed:
        sys.exit(f"REST does not keep to its document: {', '.join(failed)}")


def hold(origin, app, directory):
    """Validates the document of `app` and runs its properties; whether all of them held."""
    base = f"{origin}/{app}/rest/v2"
    document = json.load(urllib.request.urlopen(f"{base}/openapi.json", timeout=START_SECONDS))
    validate(document)
    assert document["openapi"].startswith("3.1."), document["openapi"]
    arguments, seconds = next((a, s) for name, a, s in RUNS if name == app)
    command = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{base}/openapi.json",
        "--checks", CHECKS,
        "--max-time", str(seconds),
        "--max-examples", "25",
        "--request-timeout", "60",
        "--no-color",
        *arguments,
    ]
    held = subprocess.run(command, cwd=directory).returncode == 0
    if app == RUNS[0][0]:
        # Otherwise the filter, and not the operations, has been tried.
        assert urllib.request.urlopen(f"{base}/version", timeout=START_SECONDS).status == 200
    return held


if __name__ == "__main__":
    main()
