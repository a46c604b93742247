//! What a webhook says: Ant Media's keys, blank ones left out, as JSON or as a form.

use serde_json::{Map, Value};

use crate::model::event::{Event, EventAction};

/// The fields of `event`, in Ant Media's words. `category` is the registered broadcast's.
pub fn fields(event: &Event, category: Option<&str>) -> Map<String, Value> {
    let room = event.main_track.as_deref();
    let texts = [
        ("id", Some(&*event.stream)),
        ("action", Some(event.action.text())),
        ("streamName", event.name.as_deref()),
        ("category", category),
        ("mainTrackId", room),
        ("roomId", room),
        ("subscriberId", event.subscriber_id.as_deref()),
        ("app", Some(&*event.app)),
    ];
    let mut fields: Map<String, Value> = texts
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), text?)))
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(key, text)| (key, Value::from(text)))
        .collect();
    if let Some(metadata) = metadata(event) {
        fields.insert("metadata".to_owned(), metadata);
    }
    fields.insert(
        "timestamp".to_owned(),
        Value::from(event.unix_ms.to_string()),
    );
    fields
}

/// An object where the text is one, otherwise the text itself.
fn metadata(event: &Event) -> Option<Value> {
    if event.action == EventAction::PublishTimeoutError {
        let subscriber = event.subscriber_id.as_ref()?;
        return Some(serde_json::json!({ "subscriberId": subscriber }));
    }
    let text = event
        .meta_data
        .as_deref()
        .filter(|text| !text.trim().is_empty())?;
    let object = serde_json::from_str::<Value>(text)
        .ok()
        .filter(Value::is_object);
    Some(object.unwrap_or_else(|| Value::from(text)))
}

/// The same as the pairs of a form: objects as JSON text.
pub fn form(fields: &Map<String, Value>) -> Vec<(&str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    fields
        .iter()
        .map(|(key, value)| (key.as_str(), text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event {
            app: "live".into(),
            stream: "s1".into(),
            action: EventAction::LiveStreamStarted,
            unix_ms: 1_700_000_000_123,
            name: Some(" ".to_owned()),
            meta_data: None,
            main_track: None,
            subscriber_id: None,
        }
    }

    #[test]
    fn blank_keys_are_left_out() {
        let fields = Value::Object(fields(&event(), Some("")));
        let expected = json!({
            "id": "s1", "action": "liveStreamStarted", "app": "live",
            "timestamp": "1700000000123",
        });
        assert_eq!(fields, expected);
    }

    #[test]
    fn every_key_is_spelt_as_ant_media_does() {
        let full = Event {
            name: Some("Name".to_owned()),
            meta_data: Some("{\"a\":1}".to_owned()),
            main_track: Some("room1".into()),
            subscriber_id: Some("anna".to_owned()),
            action: EventAction::SubtrackAdded,
            ..event()
        };
        let fields = fields(&full, Some("news"));
        let expected = json!({
            "id": "s1", "action": "subtrackAddedInTheMainTrack", "streamName": "Name",
            "category": "news", "mainTrackId": "room1", "roomId": "room1",
            "subscriberId": "anna", "app": "live", "metadata": {"a": 1},
            "timestamp": "1700000000123",
        });
        assert_eq!(Value::Object(fields.clone()), expected);
        assert!(form(&fields).contains(&("metadata", "{\"a\":1}".to_owned())));
        assert!(form(&fields).contains(&("id", "s1".to_owned())));
    }

    #[test]
    fn metadata_that_is_no_object_stays_a_text() {
        for text in ["plain", "[1]", "7", "{broken"] {
            let event = Event {
                meta_data: Some(text.to_owned()),
                ..event()
            };
            assert_eq!(fields(&event, None).get("metadata"), Some(&json!(text)));
        }
        let timeout = Event {
            action: EventAction::PublishTimeoutError,
            subscriber_id: Some("anna".to_owned()),
            ..event()
        };
        let expected = json!({ "subscriberId": "anna" });
        assert_eq!(fields(&timeout, None).get("metadata"), Some(&expected));
    }
}
