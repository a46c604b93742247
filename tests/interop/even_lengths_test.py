"""Packets that the server padded to one length decode to the pictures that were sent: aiortc and GStreamer play.

The publisher splits each frame about equally, as libwebrtc does, so that sizes differ by a byte.
"""

import asyncio
import json
import os
import pathlib
import re
import signal
import tempfile
import unittest
import unittest.mock
import urllib.request

import numpy
import websockets
from aiortc.codecs.vpx import Vp8Encoder, VpxPayloadDescriptor
from aiortc.rtcdtlstransport import RTCCertificate
from cryptography.hazmat.primitives import serialization

from leafcutter import CACHE, Session, only, running_server
from pattern import HEIGHT, WIDTH, Picture, number_of, picture

APP = "LiveApp"
PART_MAX = 200
WANTED_PICTURES = 60
COLLECT_SECONDS = 60
# Mean absolute error per colour value, of 255: codec and colour conversion make 1 to 3 of it, a torn picture 10.
MEAN_ERROR = 5.0
SYSTEM_PYTHON = "/usr/bin/python3"
VIEWER = pathlib.Path(__file__).with_name("gstreamer_viewer.py")


def about_equal_parts(_, buffer, picture_id):
    """One VP8 frame as RTP payloads whose sizes differ by at most one byte, the smaller ones first."""
    parts = -(-len(buffer) // PART_MAX)
    size, larger = divmod(len(buffer), parts)
    payloads, at = [], 0
    for number in range(parts):
        end = at + size + (number >= parts - larger)
        descriptor = VpxPayloadDescriptor(partition_start=int(number == 0), partition_id=0, picture_id=picture_id)
        payloads.append(bytes(descriptor) + buffer[at:end])
        at = end
    return payloads


class EvenLengthsTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        split = unittest.mock.patch.object(Vp8Encoder, "_packetize", classmethod(about_equal_parts))
        split.start()
        self.addCleanup(split.stop)
        server = running_server(f"even-{self._testMethodName}")
        self.origin = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)
        self.publisher = Session(self.origin, APP, "even")
        await self.publisher.__aenter__()
        self.addAsyncCleanup(self.publisher.__aexit__, None, None, None)
        self.publisher.pc.addTransceiver(Picture(), direction="sendonly")
        only(self.publisher.pc.getTransceivers()[0], "video/VP8")
        await self.publisher.publish()
        pausing = asyncio.create_task(pause_now_and_then())
        self.addCleanup(pausing.cancel)

    async def test_aiortc_decodes_padded_packets(self):
        async with Session(self.origin, APP, "even") as viewer:
            track = asyncio.get_running_loop().create_future()
            viewer.pc.on("track", track.set_result)
            await viewer.play()
            received = await asyncio.wait_for(track, COLLECT_SECONDS)
            collect = [asyncio.wait_for(received.recv(), COLLECT_SECONDS) for _ in range(WANTED_PICTURES)]
            pictures = [(await frame).to_ndarray(format="rgb24") for frame in collect]
        await self.compare(pictures)

    async def test_gstreamer_decodes_padded_packets(self):
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            path = pathlib.Path(folder) / "pictures.rgb"
            process = await asyncio.create_subprocess_exec(
                SYSTEM_PYTHON, str(VIEWER), str(path),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                # Not this environment's packages: the bindings are the system's.
                env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            )
            url = f"{self.origin.replace('http', 'ws', 1)}/{APP}/websocket"
            async with websockets.connect(url, max_size=1 << 20, proxy=None) as socket:
                await socket.send(json.dumps({"command": "play", "streamId": "even", "token": ""}))
                signalling = asyncio.create_task(carry(socket, process))
                try:
                    raw = await asyncio.wait_for(self.wait_for_pictures(path, signalling), COLLECT_SECONDS)
                finally:
                    signalling.cancel()
                    process.stdin.close()
                    await process.wait()
        await self.compare(list(raw.reshape(-1, HEIGHT, WIDTH, 3)))

    async def wait_for_pictures(self, path, signalling):
        wanted = WANTED_PICTURES * HEIGHT * WIDTH * 3
        while not path.exists() or path.stat().st_size < wanted:
            if signalling.done():
                signalling.result()
                self.fail("the signalling ended early")
            await asyncio.sleep(0.1)
        return numpy.fromfile(path, numpy.uint8, wanted)

    async def compare(self, pictures):
        numbers = [number_of(image) for image in pictures]
        self.assertNotIn(None, numbers, "a picture's number is not readable")
        self.assertTrue((numpy.diff(numbers) > 0).all(), f"pictures must come in order: {numbers}")
        errors = [
            numpy.abs(image.astype(int) - picture(number).astype(int)).mean()
            for image, number in zip(pictures, numbers)
        ]
        print(f"  {len(errors)} pictures, mean error {numpy.mean(errors):.2f} of 255")
        self.assertLess(numpy.mean(errors), MEAN_ERROR)
        metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{self.origin}/metrics").read().decode())
        padded = int(re.search(r"^leafcutter_padded_total (\d+)", metrics, re.M)[1])
        print(f"  {padded} packets were padded")
        self.assertGreater(padded, 10)


async def pause_now_and_then():
    """Stops the server for a moment again and again, so that it finds whole frames when it goes on."""
    children = pathlib.Path("/proc/self/task").glob("*/children")
    ids = [int(each) for path in children for each in path.read_text().split()]
    server = next(each for each in ids if pathlib.Path(f"/proc/{each}/comm").read_text() == "leafcutter\n")
    while True:
        os.kill(server, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.03)
        finally:
            os.kill(server, signal.SIGCONT)
        await asyncio.sleep(0.02)


def pem(certificate):
    """aiortc's certificate, which is on P-256, and its key."""
    key = certificate._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (certificate._cert.public_bytes(serialization.Encoding.PEM) + key).decode()


async def carry(socket, process):
    """Carries the server's messages to the viewer process and its answer back."""
    async def tell(message):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()

    async for text in socket:
        message = json.loads(text)
        match message["command"]:
            case "takeConfiguration":
                certificate = RTCCertificate.generateCertificate()
                await tell({"certificate": pem(certificate), "offer": message["sdp"]})
                answer = json.loads(await process.stdout.readline())["answer"]
                # webrtcbin names the certificate that it made first.
                digest = next(each.value for each in certificate.getFingerprints() if each.algorithm == "sha-256")
                answer = re.sub("a=fingerprint:.*?\r", f"a=fingerprint:sha-256 {digest}\r", answer)
                await socket.send(json.dumps(
                    {"command": "takeConfiguration", "streamId": "even", "type": "answer", "sdp": answer}
                ))
            case "takeCandidate":
                await tell({"candidate": message["candidate"], "label": message["label"]})
            case "error":
                raise AssertionError(f"the server said {message}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
