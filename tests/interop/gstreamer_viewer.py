"""A viewer on GStreamer's webrtcbin, as a process of its own: run by the system's Python, which has the bindings.

Reads JSON lines: {"certificate": PEM, "offer": SDP} and {"candidate": text, "label": number}; writes {"answer": SDP}.
The decoded pictures go to the file named by the argument, as RGB rows without anything between.

GStreamer 1.22 makes itself an RSA certificate, which the server's DTLS does not take: it is given one on P-256.
"""

import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402


class Viewer:
    def __init__(self, pictures):
        self.pictures = pictures
        self.pipeline = Gst.Pipeline.new(None)
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.webrtc.connect("pad-added", self.decode)
        self.webrtc.connect("deep-element-added", self.certify)
        self.certificate = None
        self.pipeline.add(self.webrtc)
        self.pipeline.set_state(Gst.State.PLAYING)

    def decode(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps().to_string()
        if "VP8" in caps:
            sink = f"rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! filesink location={self.pictures}"
            sink += " sync=false buffer-mode=unbuffered"
        else:
            sink = "fakesink sync=false"
        chain = Gst.parse_bin_from_description(f"queue ! {sink}", True)
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def certify(self, _, __, element):
        factory = element.get_factory()
        if factory is not None and factory.get_name() == "dtlsdec":
            element.set_property("pem", self.certificate)

    def take(self, message):
        if "offer" in message:
            self.certificate = message["certificate"]
            _, sdp = GstSdp.SDPMessage.new_from_text(message["offer"])
            offer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, sdp)
            done = Gst.Promise.new_with_change_func(self.answer, None)
            self.webrtc.emit("set-remote-description", offer, done)
        else:
            self.webrtc.emit("add-ice-candidate", message["label"], message["candidate"])
        return False

    def answer(self, _, __):
        self.webrtc.emit("create-answer", None, Gst.Promise.new_with_change_func(self.send_answer, None))

    def send_answer(self, promise, _):
        reply = promise.get_reply()  # The answer lives no longer than this.
        answer = reply.get_value("answer")
        text = answer.sdp.as_text()
        self.webrtc.emit("set-local-description", answer, None)
        print(json.dumps({"answer": text}), flush=True)


def main():
    Gst.init(None)
    viewer = Viewer(sys.argv[1])
    loop = GLib.MainLoop()

    def read():
        for line in sys.stdin:
            GLib.idle_add(viewer.take, json.loads(line))
        GLib.idle_add(loop.quit)

    threading.Thread(target=read, daemon=True).start()
    loop.run()
    viewer.pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
