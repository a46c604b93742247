//! Questions to join a call, and for the tracks of a broadcast: checked as a play of theirs.

use std::net::IpAddr;

use super::people::world_with_codes;
use super::*;
use crate::model::access::Proof;
use crate::model::call::{CallEvent, CallNews, CallStep, JoinAsk, JoinGrant};
use crate::model::errand::Errand;
use crate::model::information::Information;

impl World {
    /// Sends an errand from 192.0.2.1, takes every step, and returns what was mailed last.
    fn errand(&mut self, conn: ConnId, errand: Errand) -> Option<WorkerMail> {
        let client = Arc::new(Client {
            remote: Some(IpAddr::from([192, 0, 2, 1])),
            origin: Some("https://example.org".into()),
            ..Client::default()
        });
        self.tell(ControlMail::Errand {
            conn,
            app: APP.into(),
            client,
            errand,
        });
        while self.step() {}
        let mails = std::iter::from_fn(|| self.directory.poll_mail());
        mails.last().map(|(_, mail)| mail)
    }

    /// What `conn` is told of its join, or the other member of the call.
    fn join(&mut self, conn: ConnId, ask: JoinAsk) -> CallNews {
        let step = CallStep::Join { request: 7, ask };
        match self.errand(conn, Errand::Call(step)) {
            Some(WorkerMail::Call { news, .. }) => news,
            other => panic!("{other:?}"),
        }
    }

    fn track_list(&mut self, proof: Proof) -> String {
        let stream = "s".into();
        let question = Information::TrackList { stream, proof };
        match self.errand(BOB, Errand::Question(question)) {
            Some(WorkerMail::Text { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn ask(stream: &str, proof: Proof) -> JoinAsk {
    JoinAsk {
        stream: stream.into(),
        multi_peer: true,
        play_only: false,
        proof,
    }
}

fn token() -> Proof {
    Proof {
        token: Some("secret".to_owned()),
        ..Proof::default()
    }
}

fn decision(result: Result<JoinGrant, Definition>) -> CallNews {
    CallNews::Decision { request: 7, result }
}

#[test]
fn who_is_sent_to_another_id_of_a_call_needs_no_second_token() {
    let mut w = World::new(AppSettings {
        play_token_control_enabled: true,
        webhook_play_auth_url: "http://hook".to_owned(),
        ..AppSettings::default()
    });
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("c", AccessKind::Play)),
        ..AdmissionFacts::default()
    });
    let refused = decision(Err(Definition::UnauthorizedAccess));
    let joined = decision(Ok(JoinGrant::Joined));
    assert_eq!(w.join(ALICE, ask("c", token())), joined);
    let news = w.join(BOB, ask("c", token()));
    let CallNews::Decision {
        result: Ok(JoinGrant::Redirected(own)),
        ..
    } = news
    else {
        panic!("{news:?}");
    };
    assert_eq!((w.consumed.len(), w.hooks.len()), (2, 2));

    w.facts = Ok(AdmissionFacts::default());
    assert_eq!(w.join(CAROL, ask(&own, token())), refused, "not hers");
    let event = CallEvent::StartAnother(own.clone());
    let started = CallNews::Event {
        stream: own.clone(),
        event,
    };
    assert_eq!(w.join(BOB, ask(&own, Proof::default())), started);
    assert_eq!((w.consumed.len(), w.hooks.len()), (2, 2), "asked once");
}

#[test]
fn calls_and_track_lists_open_to_time_based_codes() {
    let (mut w, right) = world_with_codes();
    for (code, is_right) in [(right, true), ("000000".to_owned(), false)] {
        let proof = Proof {
            subscriber_id: Some("anna".to_owned()),
            subscriber_code: Some(code),
            ..Proof::default()
        };
        let result = match is_right {
            true => Ok(JoinGrant::Joined),
            false => Err(Definition::UnauthorizedAccess),
        };
        assert_eq!(w.join(ALICE, ask("c", proof.clone())), decision(result));
        let list = w.track_list(proof);
        assert_eq!(list.contains("trackList"), is_right, "{list}");
    }
}

#[test]
fn the_webhook_is_told_where_a_join_and_a_question_come_from() {
    let mut w = World::new(AppSettings {
        webhook_play_auth_url: "http://hook".to_owned(),
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    w.join(ALICE, ask("c", token()));
    w.track_list(token());
    assert_eq!(w.hooks.len(), 2);
    for hook in &w.hooks {
        assert_eq!(hook.body["ipAddress"], "192.0.2.1");
        assert_eq!(hook.body["origin"], "https://example.org");
        assert_eq!(hook.body["token"], "secret");
    }
}
