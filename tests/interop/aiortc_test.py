"""aiortc publishes and another aiortc plays: the pictures and the tone that arrive are those that were sent."""

import asyncio
import re
import unittest

import numpy

from leafcutter import Session, only, running_server
from pattern import TONE_HZ, Picture, Tone, dominant_hz, number_of, picture

APP = "LiveApp"
WANTED_FRAMES = 120
WANTED_SECONDS_OF_SOUND = 2
COLLECT_SECONDS = 40
# Mean absolute error per colour value, of 255. The codecs' own share is 1 to 2 at these bitrates;
# a torn, grey or smeared picture is beyond it.
MEAN_ERROR = 3.0
WORST_ERROR = 8.0
# Root mean square of the tone as sent is 5657; aiortc's receiver and the codec take their share.
QUIETEST_TONE = 2000


class AiortcTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # It is on in unittest and warns of every slow step.
        server = running_server(f"aiortc-{self._testMethodName}")
        self.origin = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)

    async def test_vp8_pictures_and_tone_arrive_as_sent(self):
        await self.pictures_and_tone_arrive_as_sent("video/VP8")

    async def test_h264_pictures_and_tone_arrive_as_sent(self):
        await self.pictures_and_tone_arrive_as_sent("video/H264")

    async def pictures_and_tone_arrive_as_sent(self, mime_type):
        stream_id = f"aiortc-{mime_type[6:].lower()}"
        async with Session(self.origin, APP, stream_id) as publisher, Session(self.origin, APP, stream_id) as viewer:
            for track in (Picture(), Tone()):
                publisher.pc.addTransceiver(track, direction="sendonly")
            only(next(each for each in publisher.pc.getTransceivers() if each.kind == "video"), mime_type)
            await publisher.publish()

            collected = asyncio.gather(*collect(viewer))
            await viewer.play()
            pictures, (sound, rate) = await asyncio.wait_for(collected, COLLECT_SECONDS)

            with self.subTest("track ids"):
                self.assertEqual(
                    sorted(viewer.id_mapping.values()), [f"ARDAMSa{stream_id}", f"ARDAMSv{stream_id}"]
                )
            with self.subTest("codec"):
                self.assertEqual(first_video_codec(viewer.pc.remoteDescription.sdp), mime_type)
            with self.subTest("pictures"):
                self.compare_pictures(pictures)
            with self.subTest("tone"):
                self.compare_tone(sound, rate)

            await publisher.stop()
            await viewer.notification("play_finished")

    def compare_pictures(self, pictures):
        numbers = [number_of(image) for image in pictures]
        self.assertNotIn(None, numbers, "a picture's number is not readable")
        steps = numpy.diff(numbers)
        self.assertTrue((steps > 0).all(), f"pictures must come in order: {numbers}")
        # aiortc's own receiver may skip a picture at the start, while it catches up.
        self.assertGreaterEqual(len(numbers) / (numbers[-1] - numbers[0] + 1), 0.97, f"pictures are missing: {numbers}")
        errors = [
            numpy.abs(image.astype(int) - picture(number).astype(int)).mean()
            for image, number in zip(pictures, numbers)
        ]
        print(f"  {len(errors)} pictures, mean error {numpy.mean(errors):.2f}, worst {max(errors):.2f} of 255")
        self.assertLess(numpy.mean(errors), MEAN_ERROR)
        self.assertLess(max(errors), WORST_ERROR)

    def compare_tone(self, sound, rate):
        self.assertAlmostEqual(dominant_hz(sound, rate), TONE_HZ, delta=5)
        level = numpy.sqrt((sound.astype(float) ** 2).mean())
        print(f"  tone at {dominant_hz(sound, rate):.1f} Hz, level {level:.0f}")
        self.assertGreater(level, QUIETEST_TONE)


def collect(viewer):
    """Two awaitables: the received pictures as RGB rows, and the received sound with its rate."""
    tracks = {"video": asyncio.get_running_loop().create_future(), "audio": asyncio.get_running_loop().create_future()}
    viewer.pc.on("track", lambda track: tracks[track.kind].set_result(track))

    async def pictures():
        track = await tracks["video"]
        return [(await track.recv()).to_ndarray(format="rgb24") for _ in range(WANTED_FRAMES)]

    async def sound():
        track = await tracks["audio"]
        blocks, rate, seconds = [], None, 0
        while seconds < WANTED_SECONDS_OF_SOUND:
            frame = await track.recv()
            rate = frame.sample_rate
            block = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
            # Before the first packet and across gaps aiortc may play silence.
            if blocks or numpy.abs(block).max() > 1000:
                blocks.append(block)
                seconds += len(block) / rate
        return numpy.concatenate(blocks), rate

    return pictures(), sound()


def first_video_codec(sdp):
    """The codec that an offer puts first in its video section, as a MIME type."""
    video = sdp[sdp.index("m=video"):]
    payload_type = re.match(r"m=video \d+ \S+ (\d+)", video)[1]
    return "video/" + re.search(rf"a=rtpmap:{payload_type} (\w+)/", video)[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
