"""The server under test and the raw signalling protocol, for the interoperability tests."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import tempfile
import urllib.error
import urllib.request

import websockets
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "tests" / ".cache"
BINARY = os.environ.get("LEAFCUTTER_BIN", str(ROOT / "target" / "release" / "leafcutter"))
START_SECONDS = 30
STEP_SECONDS = 20


@contextlib.asynccontextmanager
async def running_server(label, *args):
    """Starts the server on free ports, yields its `http://HOST:PORT`, holds it to a clean exit."""
    (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    data_dir = tempfile.mkdtemp(prefix="data-", dir=CACHE)
    log_path = CACHE / "logs" / f"{label}.log"
    with open(log_path, "wb") as log:
        process = await asyncio.create_subprocess_exec(
            BINARY, "--listen", "127.0.0.1:0", "--media-port", "0", "--data-dir", data_dir, *args,
            stdout=asyncio.subprocess.PIPE, stderr=log,
            env={"LEAFCUTTER_CPU_LIMIT": "100", **os.environ},
        )
        reader = None
        try:
            origin = await asyncio.wait_for(_printed_origin(process, log), START_SECONDS)
            # Reads on, so that the server never blocks on a full pipe.
            reader = asyncio.create_task(_copy(process.stdout, log))
            await asyncio.wait_for(_ready(origin), START_SECONDS)
            yield origin
        finally:
            early = process.returncode
            if early is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = await asyncio.wait_for(process.wait(), STEP_SECONDS)
            except asyncio.TimeoutError:
                process.kill()
                code = f"killed, {await process.wait()}"
            if reader:
                await reader
            shutil.rmtree(data_dir, ignore_errors=True)
    if early is not None or code != 0:
        raise AssertionError(f"the server ended with {code}, see {log_path}")


async def _printed_origin(process, log):
    while line := await process.stdout.readline():
        log.write(line)
        if match := re.match(rb"listening on (http://\S+)", line):
            return match[1].decode().rstrip("/")
    raise AssertionError(f"the server ended before it listened, see {log.name}")


async def _copy(source, target):
    while chunk := await source.read(65536):
        target.write(chunk)


async def _ready(origin):
    def healthy():
        try:
            with urllib.request.urlopen(f"{origin}/healthz", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    while not await asyncio.to_thread(healthy):
        await asyncio.sleep(0.05)


class Session:
    """One WebSocket and one peer connection, publishing or playing one stream id."""

    def __init__(self, origin, app, stream_id):
        self.url = f"{origin.replace('http', 'ws', 1)}/{app}/websocket"
        self.stream_id = stream_id
        self.pc = RTCPeerConnection()
        self.id_mapping = {}
        self.heard = []
        self._told = {}
        self._early = []

    async def __aenter__(self):
        self.socket = await websockets.connect(self.url, max_size=1 << 20, proxy=None)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self._reader.cancel()
        await self.pc.close()
        await self.socket.close()

    async def send(self, command, **fields):
        await self.socket.send(json.dumps({"command": command, "streamId": self.stream_id, **fields}))

    async def publish(self):
        """Publishes what was added to `pc`; returns when the server says it has begun."""
        kinds = {transceiver.kind for transceiver in self.pc.getTransceivers()}
        await self.send("publish", video="video" in kinds, audio="audio" in kinds)
        await self.notification("publish_started")

    async def play(self):
        """Plays; returns when the server says it has begun. Tracks come by `pc.on("track")`."""
        await self.send("play", token="", trackList=[])
        await self.notification("play_started")

    async def stop(self):
        await self.send("stop")

    async def notification(self, definition):
        """Waits for a notification; an error from the server ends the wait."""
        event = self._told.setdefault(definition, asyncio.Event())
        waiting = asyncio.create_task(asyncio.wait_for(event.wait(), STEP_SECONDS))
        done, _ = await asyncio.wait({waiting, self._reader}, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done:
            try:
                return waiting.result()
            except asyncio.TimeoutError:
                raise AssertionError(f"no {definition} within {STEP_SECONDS} s; heard {self.heard}") from None
        waiting.cancel()
        self._reader.result()
        raise AssertionError(f"the socket was closed before {definition}; heard {self.heard}")

    async def _read(self):
        async for text in self.socket:
            message = json.loads(text)
            command, definition = message.get("command"), message.get("definition")
            self.heard.append(definition or command)
            if command == "error":
                raise AssertionError(f"the server said {message}")
            if command == "start":
                await self._describe_self(await self.pc.createOffer())
            elif command == "takeConfiguration":
                await self._take_configuration(message)
            elif command == "takeCandidate":
                await self._take_candidate(message)
            elif command == "notification":
                self._told.setdefault(definition, asyncio.Event()).set()

    async def _describe_self(self, description):
        # Gathers first: the candidates stand in the description, none follow.
        await self.pc.setLocalDescription(description)
        local = self.pc.localDescription
        await self.send("takeConfiguration", type=local.type, sdp=local.sdp)

    async def _take_configuration(self, message):
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp=message["sdp"], type=message["type"]))
        for early in self._early:
            await self._add_candidate(early)
        self._early.clear()
        if message["type"] == "offer":
            self.id_mapping = message["idMapping"]
            await self._describe_self(await self.pc.createAnswer())

    async def _take_candidate(self, message):
        if not isinstance(message["label"], int) or not isinstance(message["id"], str):
            raise AssertionError(f"label must be a number and id a string: {message}")
        if self.pc.remoteDescription is None:
            self._early.append(message)
        else:
            await self._add_candidate(message)

    async def _add_candidate(self, message):
        if not message["candidate"]:
            return
        candidate = candidate_from_sdp(message["candidate"].removeprefix("candidate:"))
        candidate.sdpMid = message["id"]
        candidate.sdpMLineIndex = message["label"]
        await self.pc.addIceCandidate(candidate)


def only(transceiver, mime_type):
    """Offers one video codec, with its retransmissions."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType in (mime_type, "video/rtx")])
