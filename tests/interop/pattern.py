"""A moving picture that says its own number, and a tone: media that can be compared by content."""

import asyncio
import fractions
import math
import time

import numpy
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT = 480, 288
FRAMES_PER_SECOND = 20
VIDEO_CLOCK = 90_000
# The number stands twice, upright and inverted, so that a misread cannot pass for a number.
BITS = 16
CELL_WIDTH, CELL_HEIGHT = WIDTH // BITS, 32
BARS = numpy.array(
    [(200, 40, 40), (40, 180, 40), (40, 60, 200), (200, 180, 40), (160, 50, 170), (40, 170, 170)], numpy.uint8
)
SQUARE = 48

SAMPLE_RATE = 48_000
TONE_HZ = 1000
AUDIO_FRAMES_PER_SECOND = 50


def picture(number):
    """The picture of a frame number, as rows of RGB."""
    image = numpy.empty((HEIGHT, WIDTH, 3), numpy.uint8)
    image[:] = numpy.repeat(BARS, WIDTH // len(BARS), axis=0)
    for bit in range(BITS):
        white = (number >> bit) & 1
        columns = slice(bit * CELL_WIDTH, (bit + 1) * CELL_WIDTH)
        image[:CELL_HEIGHT, columns] = 235 if white else 16
        image[CELL_HEIGHT:2 * CELL_HEIGHT, columns] = 16 if white else 235
    left = (number * 6) % (WIDTH - SQUARE)
    top = 2 * CELL_HEIGHT + (number * 4) % (HEIGHT - 2 * CELL_HEIGHT - SQUARE)
    image[top:top + SQUARE, left:left + SQUARE] = (245, 245, 245)
    return image


def number_of(image):
    """The frame number in a received picture, or None when its two copies disagree."""
    grey = image.mean(axis=2)
    number = 0
    for bit in range(BITS):
        columns = slice(bit * CELL_WIDTH + CELL_WIDTH // 4, (bit + 1) * CELL_WIDTH - CELL_WIDTH // 4)
        upright = grey[CELL_HEIGHT // 4:3 * CELL_HEIGHT // 4, columns].mean() > 128
        inverted = grey[CELL_HEIGHT + CELL_HEIGHT // 4:CELL_HEIGHT + 3 * CELL_HEIGHT // 4, columns].mean() > 128
        if upright == inverted:
            return None
        number |= int(upright) << bit
    return number


class Paced(MediaStreamTrack):
    """A track that makes frame 0, 1, ... in real time."""

    rate: int

    def __init__(self):
        super().__init__()
        self.number = 0
        self.started_at = None

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        self.started_at = self.started_at or now
        await asyncio.sleep(max(0, self.started_at + self.number / self.rate - now))
        frame = self.frame(self.number)
        self.number += 1
        return frame


class Picture(Paced):
    """Sends `picture(0)`, `picture(1)`, ..."""

    kind = "video"
    rate = FRAMES_PER_SECOND

    def frame(self, number):
        frame = VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts, frame.time_base = number * VIDEO_CLOCK // self.rate, fractions.Fraction(1, VIDEO_CLOCK)
        return frame


class Tone(Paced):
    """Sends a sine."""

    kind = "audio"
    rate = AUDIO_FRAMES_PER_SECOND

    def frame(self, number):
        count = SAMPLE_RATE // self.rate
        steps = numpy.arange(number * count, (number + 1) * count)
        wave = (8000 * numpy.sin(2 * math.pi * TONE_HZ * steps / SAMPLE_RATE)).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = int(steps[0]), SAMPLE_RATE, fractions.Fraction(1, SAMPLE_RATE)
        return frame


def dominant_hz(samples, rate):
    """The strongest frequency in mono samples."""
    spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
    return float(numpy.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])
