"""WHIP and WHEP with GStreamer's webrtcbin, the other end being a client of the WebSocket protocol (aiortc)."""

import asyncio
import os
import pathlib
import tempfile
import unittest
import urllib.error
import urllib.request

import numpy
from aiortc.rtcdtlstransport import RTCCertificate

from even_lengths_test import SYSTEM_PYTHON, pem
from leafcutter import CACHE, Session, only, running_server
from pattern import HEIGHT, WIDTH, Picture, Tone, number_of

APP = "LiveApp"
CLIENT = pathlib.Path(__file__).with_name("gstreamer_whip.py")
PATIENCE_SECONDS = 60
WANTED_PICTURES = 40
# The first three of SMPTE's bars at full strength, as RGB; codec and colour matrix move them a little.
BARS = numpy.array([(255, 255, 255), (255, 255, 0), (0, 255, 255)])
BAR_ERROR = 40


@unittest.skipUnless(os.environ.get("LEAFCUTTER_ALL") == "1", "takes a minute: tests/run.sh --all")
class WhipTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        folder = tempfile.TemporaryDirectory(dir=CACHE)
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        server = running_server(f"whip-{self._testMethodName}")
        self.origin = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)

    async def gstreamer(self, *arguments):
        role, endpoint, *rest = arguments
        certificate = RTCCertificate.generateCertificate()
        digest = next(each.value for each in certificate.getFingerprints() if each.algorithm == "sha-256")
        file = self.folder / "certificate.pem"
        file.write_text(pem(certificate))
        process = await asyncio.create_subprocess_exec(
            SYSTEM_PYTHON, str(CLIENT), role, f"{self.origin}/{APP}/{endpoint}", str(file), digest, *rest,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            # Not this environment's packages: the bindings are the system's.
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )

        async def end():
            if process.returncode is None:
                process.stdin.close()
                await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)

        self.addAsyncCleanup(end)
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        self.assertEqual(line, b"answered\n")
        return process, end

    async def test_gstreamer_publishes_over_whip(self):
        _, end = await self.gstreamer("publish", "whip/bars")
        async with Session(self.origin, APP, "bars") as viewer:
            tracks = {}
            viewer.pc.on("track", lambda track: tracks.setdefault(track.kind, track))
            await self.play(viewer)
            for _ in range(WANTED_PICTURES):
                frame = await asyncio.wait_for(tracks["video"].recv(), PATIENCE_SECONDS)
            loudest = 0
            for _ in range(WANTED_PICTURES):
                sound = await asyncio.wait_for(tracks["audio"].recv(), PATIENCE_SECONDS)
                loudest = max(loudest, numpy.abs(sound.to_ndarray().astype(int)).max())
            self.assertGreater(loudest, 1000, "the tone is not to be heard")
            image = frame.to_ndarray(format="rgb24")
            self.assertEqual(image.shape, (240, 320, 3))
            middles = [image[60:100, int((bar + 0.5) * 320 / 7)].mean(axis=0) for bar in range(3)]
            self.assertLess(numpy.abs(numpy.array(middles) - BARS).max(), BAR_ERROR, f"{middles}")
            # DELETE ends the broadcast: the viewer is told at once.
            await end()
            await viewer.notification("play_finished")

    async def play(self, viewer):
        """Plays once the publisher is connected: WHIP's 201 comes before that."""
        await viewer.send("play", token="", trackList=[])
        for _ in range(100):
            try:
                return await viewer.notification("play_started")
            except AssertionError as error:
                if "no_stream_exist" not in str(error):
                    raise
                await asyncio.sleep(0.2)
                viewer._reader = asyncio.create_task(viewer._read())
                await viewer.send("play", token="", trackList=[])
        self.fail("the broadcast never began")

    async def test_gstreamer_plays_over_whep(self):
        path = self.folder / "pictures.rgb"
        with self.assertRaises(urllib.error.HTTPError) as refused:
            request = urllib.request.Request(
                f"{self.origin}/{APP}/whep/numbers", b"v=0", {"Content-Type": "application/sdp"}
            )
            await asyncio.to_thread(urllib.request.urlopen, request)
        self.assertEqual(refused.exception.code, 400)
        async with Session(self.origin, APP, "numbers") as publisher:
            publisher.pc.addTransceiver(Picture(), direction="sendonly")
            only(publisher.pc.getTransceivers()[0], "video/VP8")
            publisher.pc.addTransceiver(Tone(), direction="sendonly")
            await publisher.publish()
            await self.gstreamer("play", "whep/numbers", str(path))
            raw = await asyncio.wait_for(self.pictures(path), PATIENCE_SECONDS)
        numbers = [number_of(image) for image in raw.reshape(-1, HEIGHT, WIDTH, 3)]
        self.assertNotIn(None, numbers, "a picture's number is not readable")
        self.assertTrue((numpy.diff(numbers) > 0).all(), f"pictures must come in order: {numbers}")

    async def pictures(self, path):
        wanted = WANTED_PICTURES * HEIGHT * WIDTH * 3
        while not path.exists() or path.stat().st_size < wanted:
            await asyncio.sleep(0.1)
        return numpy.fromfile(path, numpy.uint8, wanted)


if __name__ == "__main__":
    unittest.main()
