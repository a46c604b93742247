"""Data channels of aiortc: one publishes, others play; texts and bytes go both ways."""

import asyncio
import unittest

from leafcutter import Session, running_server

APP = "LiveApp"
WAIT_SECONDS = 20
LONG = bytes(n * 31 % 251 for n in range(60_000))


class Ear:
    """What a session hears over its data channels, and the channel to answer on."""

    def __init__(self, session, channel=None):
        self.heard = []
        self.channel = asyncio.get_running_loop().create_future()
        if channel:
            self.listen(channel)
            channel.on("open", lambda: self.channel.set_result(channel))
        session.pc.on("datachannel", self.opened_by_server)

    def opened_by_server(self, channel):
        self.listen(channel)
        if not self.channel.done():
            self.channel.set_result(channel)

    def listen(self, channel):
        channel.on("message", self.heard.append)

    async def hears(self, expected):
        async def arrived():
            while len(self.heard) < len(expected):
                await asyncio.sleep(0.02)

        await asyncio.wait_for(arrived(), WAIT_SECONDS)
        assert self.heard == expected, f"heard {[len(each) for each in self.heard]}"

    async def open(self):
        return await asyncio.wait_for(self.channel, WAIT_SECONDS)


class AiortcDataTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        server = running_server(f"aiortc-{self._testMethodName}")
        self.origin = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)

    async def test_texts_and_bytes_go_both_ways(self):
        def session():
            return Session(self.origin, APP, "aiortc-data")

        async with session() as publisher, session() as one, session() as other:
            speaker = Ear(publisher, publisher.pc.createDataChannel("aiortc-data"))
            await publisher.publish()
            listeners = [Ear(one), Ear(other)]
            for player in (one, other):
                await player.play()
            channel = await speaker.open()
            answers = [await listener.open() for listener in listeners]
            self.assertEqual([each.label for each in answers], ["aiortc-data", "aiortc-data"])

            for message in ("text", LONG, b"", ""):
                channel.send(message)
            for listener in listeners:
                await listener.hears(["text", LONG, b"", ""])
            answers[0].send("back")
            await speaker.hears(["back"])
            await listeners[1].hears(["text", LONG, b"", "", "back"])
            self.assertEqual(listeners[0].heard, ["text", LONG, b"", ""], "no echo")


if __name__ == "__main__":
    unittest.main(verbosity=2)
