"""Ends well when the system's Python has all of GStreamer that the viewer needs."""

import gi

for name in ("Gst", "GstWebRTC", "GstSdp"):
    gi.require_version(name, "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402, F401

Gst.init(None)
for element in ("webrtcbin", "nicesrc", "dtlsdec", "srtpdec", "rtpvp8depay", "vp8dec", "videoconvert"):
    if Gst.ElementFactory.find(element) is None:
        raise SystemExit(f"no {element}")
