//! Commands that ask for something and keep nothing: information goes to control or to the
//! engine, push notifications are answered here. Called by `session.rs`.

use super::action::{Action, Tell};
use super::command::{Information, Push};
use super::reply::info;
use crate::model::errand::Errand;

/// Passes a question on to who knows the answer.
pub(super) fn question(question: Information, actions: &mut Vec<Action>) {
    actions.push(match question {
        Information::DebugInfo { stream } => Action::Debug { stream },
        other @ (Information::StreamInfo { .. }
        | Information::TrackList { .. }
        | Information::BroadcastObject { .. }
        | Information::Subtracks { .. }
        | Information::SubtracksCount { .. }
        | Information::SubscriberCount { .. }
        | Information::Subscribers { .. }) => Action::Tell(Tell::Errand(Errand::Question(other))),
    });
}

/// Says that this server has no push service; first, what is missing in the command.
pub(super) fn push(command: &Push, actions: &mut Vec<Action>) {
    let missing = match command {
        Push::Register {
            subscriber_id,
            token,
            registration_token,
            kind,
        } => first_missing(&[
            ("subscriberId", subscriber_id.is_some()),
            ("token", token.is_some()),
            ("pnsRegistrationToken", registration_token.is_some()),
            ("pnsType", kind.is_some()),
        ]),
        Push::Send {
            subscriber_id,
            token,
            content,
            subscriber_ids,
            topic,
        } => first_missing(&[
            ("subscriberId", subscriber_id.is_some()),
            ("token", token.is_some()),
            ("pushNotificationContent", content.is_some()),
            (
                "subscriberIdsToNotify or topic",
                !subscriber_ids.is_empty() || topic.is_some(),
            ),
        ]),
    };
    let text = match missing {
        Some(name) => info::push_result(false, "missingParameter", &format!("{name} is missing")),
        None => info::push_result(
            false,
            "pushNotificationServiceNotAvailable",
            "this server sends no push notifications",
        ),
    };
    actions.push(Action::Reply(text));
}

fn first_missing(parameters: &[(&'static str, bool)]) -> Option<&'static str> {
    let missing = parameters.iter().find(|(_, is_there)| !is_there);
    missing.map(|(name, _)| *name)
}
