"""A publisher over WHIP or a player over WHEP on GStreamer's webrtcbin, as a process of its own: run by the system's
Python, which has the bindings.

    gstreamer_whip.py publish URL CERTIFICATE DIGEST
    gstreamer_whip.py play URL CERTIFICATE DIGEST PICTURES

Makes the offer, posts it, ends the resource when its standard input ends. The publisher sends colour bars (VP8) and a
tone; the player writes the decoded pictures as RGB rows without anything between.

GStreamer 1.22 makes itself an RSA certificate, which the server's DTLS does not take: CERTIFICATE is a PEM file with
one on P-256, DIGEST its SHA-256 fingerprint.
"""

import pathlib
import re
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

SOURCES = """
webrtcbin name=webrtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=240,framerate=20/1
  ! vp8enc deadline=1 keyframe-max-dist=40 ! rtpvp8pay pt=96 picture-id-mode=2
  ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! webrtc.
audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay pt=97
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! webrtc.
"""
PLAYED = (
    "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=100",
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=101",
)


class Client:
    def __init__(self, role, url, certificate, digest, pictures=None):
        self.url, self.digest, self.pictures, self.resource = url, digest, pictures, None
        self.certificate = pathlib.Path(certificate).read_text()
        if role == "publish":
            self.pipeline = Gst.parse_launch(SOURCES)
            self.webrtc = self.pipeline.get_by_name("webrtc")
        else:
            self.pipeline = Gst.Pipeline.new(None)
            self.webrtc = Gst.ElementFactory.make("webrtcbin")
            self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(self.webrtc)
            self.webrtc.connect("pad-added", self.decode)
        self.webrtc.connect("deep-element-added", self.certify)
        if role == "publish":
            self.webrtc.connect("on-negotiation-needed", self.offer)
        else:
            # That signal may come before the transceivers are there.
            self.pipeline.set_state(Gst.State.READY)
            for caps in PLAYED:
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.webrtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        self.pipeline.set_state(Gst.State.PLAYING)
        if role == "play":
            self.offer(None)

    def certify(self, _, __, element):
        factory = element.get_factory()
        if factory is not None and factory.get_name() == "dtlsdec":
            element.set_property("pem", self.certificate)

    def decode(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        if "VP8" in pad.get_current_caps().to_string():
            sink = f"rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! filesink location={self.pictures}"
            sink += " sync=false buffer-mode=unbuffered"
        else:
            sink = "fakesink sync=false"
        chain = Gst.parse_bin_from_description(f"queue ! {sink}", True)
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def offer(self, _):
        if self.resource is None:
            self.resource = ""
            self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.post, None))

    def post(self, promise, _):
        reply = promise.get_reply()  # The offer lives no longer than this.
        offer = reply.get_value("offer")
        text = offer.sdp.as_text()
        self.webrtc.emit("set-local-description", offer, None)
        # webrtcbin names the certificate that it made first.
        text = re.sub("a=fingerprint:[^\r\n]*", f"a=fingerprint:sha-256 {self.digest}", text)
        request = urllib.request.Request(self.url, text.encode(), {"Content-Type": "application/sdp"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                assert response.status == 201, response.status
                self.resource = urllib.parse.urljoin(self.url, response.headers["Location"])
                text = response.read().decode()
        except urllib.error.HTTPError as refused:
            raise SystemExit(f"{refused}: {refused.read().decode()}\n{text}") from None
        _, sdp = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.webrtc.emit("set-remote-description", answer, None)
        for candidate in re.findall("^a=(candidate:.*?)\r?$", text, re.M):
            self.webrtc.emit("add-ice-candidate", 0, candidate)
        print("answered", flush=True)

    def end(self):
        if self.resource:
            request = urllib.request.Request(self.resource, method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()
        self.pipeline.set_state(Gst.State.NULL)


def main():
    Gst.init(None)
    client = Client(*sys.argv[1:])
    loop = GLib.MainLoop()

    def wait():
        sys.stdin.read()
        GLib.idle_add(loop.quit)

    threading.Thread(target=wait, daemon=True).start()
    loop.run()
    client.end()


if __name__ == "__main__":
    main()
