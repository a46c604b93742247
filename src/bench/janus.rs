//! Janus's own signalling, enough of it to compare: its WebSocket API and its video room plugin.
//!
//! Sans-IO: JSON in, JSON out. A broadcast is a feed of one room; a viewer subscribes to the feed.
//! Called by `client.rs`.

use serde_json::{Value, json};

/// One client's session with Janus.
#[derive(Clone, Debug)]
pub struct Janus {
    publishes: bool,
    feed: u64,
    transaction: u64,
    session: Option<u64>,
    handle: Option<u64>,
}

/// What a message from Janus asks the client to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Send this.
    Send(Value),
    /// A publisher may offer its tracks: [`Janus::publish`].
    Offer,
    /// Take this description: an answer for a publisher, an offer for a viewer, whose answer goes
    /// with [`Janus::start`].
    Describe(String),
    /// Packets flow.
    Up,
    /// It is over; why.
    Failed(String),
}

impl Janus {
    /// A client of the broadcast named `stream`, whose trailing digits number the feed.
    pub fn new(stream: &str, publishes: bool) -> Self {
        let digits = stream.trim_start_matches(|c: char| !c.is_ascii_digit());
        Self {
            publishes,
            feed: digits.parse::<u32>().map_or(1, |n| u64::from(n) + 1),
            transaction: 0,
            session: None,
            handle: None,
        }
    }

    /// The first message.
    pub fn begin(&mut self) -> Value {
        self.request("create", json!({}))
    }

    /// A publisher's offer.
    pub fn publish(&mut self, sdp: &str) -> Value {
        let body = json!({"request": "joinandconfigure", "ptype": "publisher", "room": ROOM,
            "id": self.feed});
        self.message(&body, json!({"jsep": {"type": "offer", "sdp": sdp}}))
    }

    /// A viewer's answer.
    pub fn start(&mut self, sdp: &str) -> Value {
        let body = json!({"request": "start", "room": ROOM});
        self.message(&body, json!({"jsep": {"type": "answer", "sdp": sdp}}))
    }

    /// Tells that the client has no candidates to send: Janus learns its address.
    pub fn candidates_end(&mut self) -> Value {
        self.request("trickle", json!({"candidate": {"completed": true}}))
    }

    /// One message from Janus.
    pub fn handle(&mut self, message: &Value) -> Step {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let data = message.pointer("/plugindata/data");
        if let Some(error) = data.and_then(|data| data.get("error")) {
            return Step::Failed(error.to_string());
        }
        match text("/janus").unwrap_or_default() {
            "success" => self.succeeded(message.pointer("/data/id").and_then(Value::as_u64)),
            "event" => match text("/jsep/sdp") {
                Some(sdp) => Step::Describe(sdp.to_owned()),
                None => Step::Nothing,
            },
            "webrtcup" => Step::Up,
            "error" => Step::Failed(text("/error/reason").unwrap_or("error").to_owned()),
            "hangup" => Step::Failed(text("/reason").unwrap_or("hangup").to_owned()),
            "timeout" => Step::Failed("the session timed out".to_owned()),
            _ => Step::Nothing,
        }
    }

    fn succeeded(&mut self, id: Option<u64>) -> Step {
        let Some(id) = id else { return Step::Nothing };
        if self.session.is_none() {
            self.session = Some(id);
            let attach = json!({"plugin": "janus.plugin.videoroom"});
            return Step::Send(self.request("attach", attach));
        }
        self.handle = Some(id);
        if self.publishes {
            return Step::Offer;
        }
        let body = json!({"request": "join", "ptype": "subscriber", "room": ROOM,
            "streams": [{"feed": self.feed}]});
        Step::Send(self.message(&body, json!({})))
    }

    fn message(&mut self, body: &Value, extra: Value) -> Value {
        let mut message = self.request("message", extra);
        message["body"] = body.clone();
        message
    }

    fn request(&mut self, what: &str, mut message: Value) -> Value {
        self.transaction += 1;
        message["janus"] = json!(what);
        message["transaction"] = json!(self.transaction.to_string());
        if let Some(session) = self.session {
            message["session_id"] = json!(session);
        }
        if let Some(handle) = self.handle {
            message["handle_id"] = json!(handle);
        }
        message
    }
}

/// The `Sec-WebSocket-Protocol` that Janus insists on.
pub const SUBPROTOCOL: &str = "janus-protocol";

/// The room of Janus's own example settings.
const ROOM: u64 = 1234;

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(janus: &mut Janus) -> Step {
        assert_eq!(janus.begin()["janus"], "create");
        let attach = janus.handle(&json!({"janus": "success", "data": {"id": 11}}));
        let Step::Send(attach) = attach else {
            panic!("{attach:?}")
        };
        assert_eq!(
            (&attach["janus"], &attach["session_id"]),
            (&json!("attach"), &json!(11))
        );
        janus.handle(&json!({"janus": "success", "data": {"id": 22}}))
    }

    #[test]
    fn a_viewer_subscribes_to_the_feed_of_its_broadcast() {
        let mut janus = Janus::new("bench4", false);
        let Step::Send(join) = attached(&mut janus) else {
            panic!()
        };
        assert_eq!(join["handle_id"], 22);
        assert_eq!(join["body"]["streams"], json!([{"feed": 5}]));
        let offer = json!({"janus": "event", "jsep": {"type": "offer", "sdp": "v=0"}});
        assert_eq!(janus.handle(&offer), Step::Describe("v=0".to_owned()));
        let start = janus.start("v=0 answer");
        assert_eq!(start["jsep"]["type"], "answer");
        assert_eq!(start["body"]["request"], "start");
        assert_eq!(janus.candidates_end()["candidate"]["completed"], true);
        assert_eq!(janus.handle(&json!({"janus": "webrtcup"})), Step::Up);
    }

    #[test]
    fn a_publisher_offers_and_errors_end_a_session() {
        let mut janus = Janus::new("bench", true);
        assert_eq!(attached(&mut janus), Step::Offer);
        let publish = janus.publish("v=0 offer");
        assert_eq!(publish["body"]["id"], 1);
        assert_eq!(publish["jsep"]["sdp"], "v=0 offer");
        let no_room = json!({"janus": "event", "plugindata": {"data": {"error": "No such room"}}});
        assert!(matches!(janus.handle(&no_room), Step::Failed(why) if why.contains("No such")));
        let hangup = json!({"janus": "hangup", "reason": "ICE failed"});
        assert_eq!(janus.handle(&hangup), Step::Failed("ICE failed".to_owned()));
        assert_eq!(janus.handle(&json!({"janus": "ack"})), Step::Nothing);
    }
}
