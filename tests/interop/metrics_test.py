"""The strict OpenMetrics parser of Prometheus' own Python client takes /metrics, and what it reads is what happened."""

import asyncio
import json
import pathlib
import re
import unittest
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from leafcutter import ROOT, Session, running_server
from pattern import Picture

APP = "LiveApp"
STEP_SECONDS = 20
DASHBOARD = pathlib.Path(ROOT) / "packaging" / "grafana.json"
FAMILIES = {
    "leafcutter_packets": "counter",
    "leafcutter_packets_dropped": "counter",
    "leafcutter_nack": "counter",
    "leafcutter_pli": "counter",
    "leafcutter_forward_latency_seconds": "histogram",
    "leafcutter_gso_run_length": "histogram",
    "leafcutter_join_seconds": "histogram",
    "leafcutter_store_seconds": "histogram",
    "leafcutter_joins": "counter",
    "leafcutter_sessions": "gauge",
    "leafcutter_stress": "gauge",
    "leafcutter_draining": "gauge",
    "leafcutter_worker_lag_seconds": "gauge",
}


def scrape(origin):
    request = urllib.request.Request(f"{origin}/metrics", headers={"Accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=STEP_SECONDS) as answer:
        text = answer.read().decode()
        assert answer.headers["content-type"].startswith("application/openmetrics-text"), answer.headers
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families, name, **labels):
    samples = [sample for family in families.values() for sample in family.samples]
    found = [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]
    assert found, f"no {name} {labels}"
    return sum(found)


class MetricsTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        server = running_server("metrics")
        self.origin = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)

    async def test_a_strict_parser_reads_what_happened(self):
        families = await asyncio.to_thread(scrape, self.origin)
        for name, kind in FAMILIES.items():
            self.assertEqual(families[name].type, kind, name)
            self.assertTrue(families[name].documentation, name)

        async with Session(self.origin, APP, "measured") as publisher, Session(self.origin, APP, "measured") as viewer:
            publisher.pc.addTransceiver(Picture(), direction="sendonly")
            came = asyncio.get_running_loop().create_future()
            viewer.pc.on("track", lambda track: came.done() or came.set_result(track))
            await publisher.publish()
            await viewer.play()
            track = await asyncio.wait_for(came, STEP_SECONDS)
            for _ in range(10):
                await asyncio.wait_for(track.recv(), STEP_SECONDS)
            families = await asyncio.to_thread(scrape, self.origin)
        sent = value(families, "leafcutter_packets_total", direction="out")
        timed = value(families, "leafcutter_forward_latency_seconds_count")
        self.assertGreater(timed, 10)
        self.assertLessEqual(timed, sent)
        self.assertGreater(value(families, "leafcutter_forward_latency_seconds_sum"), 0)
        self.assertEqual(value(families, "leafcutter_join_seconds_count", kind="publish"), 1)
        self.assertEqual(value(families, "leafcutter_joins_total", kind="play", result="granted"), 1)
        self.assertEqual(value(families, "leafcutter_sessions", role="player"), 1)
        self.assertEqual(value(families, "leafcutter_store_up"), 1)
        self.assertGreater(value(families, "leafcutter_store_seconds_count"), 0)
        self.assertEqual(value(families, "leafcutter_draining"), 0)

    async def test_the_older_text_format_says_the_same(self):
        families = await asyncio.to_thread(scrape, self.origin)

        def plain():
            with urllib.request.urlopen(f"{self.origin}/metrics", timeout=STEP_SECONDS) as answer:
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
                return list(plain_families(answer.read().decode()))

        older = {family.name: family for family in await asyncio.to_thread(plain)}
        for name, family in families.items():
            # An information is a gauge there, under its sample's name.
            if family.type != "info":
                self.assertEqual((older[name].type, older[name].documentation), (family.type, family.documentation))

    async def test_the_dashboard_asks_for_what_there_is(self):
        families = await asyncio.to_thread(scrape, self.origin)
        known = {sample.name for family in families.values() for sample in family.samples}
        # Families without a series yet are known by their name alone.
        known |= set(families)
        panels = json.loads(DASHBOARD.read_text())["panels"]
        asked = {name for panel in panels for target in panel.get("targets", [])
                 for name in re.findall(r"leafcutter_\w+", target["expr"])}
        self.assertGreater(len(asked), 15)
        self.assertEqual(asked - known, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
