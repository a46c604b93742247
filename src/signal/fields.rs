//! Lenient reading of one JSON object: what clients of many languages mean, not what they typed.
//!
//! Null, `""` and a missing key are the same; numbers and booleans may be quoted. Called by
//! `message.rs` only.

use serde_json::{Map, Value};

use crate::base::limits::{MAX_MESSAGE_LEN, MAX_META_DATA_LEN, MAX_TEXT_LEN, MAX_TRACK_LIST};

/// The members of a client's message. Reading takes a member out, so nothing large is copied.
#[derive(Debug)]
pub(super) struct Fields {
    members: Map<String, Value>,
    /// Something that was read is longer than it may be, and was left out.
    is_too_long: bool,
}

impl Fields {
    /// `None` when `text` is not one JSON object. serde_json refuses nesting beyond 128 levels,
    /// so neither reading nor dropping can exhaust the stack.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Some(Self {
                members,
                is_too_long: false,
            }),
            Ok(_) | Err(_) => None,
        }
    }

    /// True when a member that was asked for by [`short`](Self::short), [`token`](Self::token),
    /// [`any`](Self::any) or [`json`](Self::json) is longer than it may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// A text, or a number as its text. As long as the message: for what has a limit elsewhere.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.members.remove(key).and_then(text_of)
    }

    /// A short text that stays where it is.
    pub(super) fn peek(&self, key: &str) -> Option<String> {
        let text = self.members.get(key)?.as_str()?;
        (text.len() <= MAX_TEXT_LEN).then(|| text.to_owned())
    }

    /// The same of [`MAX_TEXT_LEN`] bytes at most.
    pub(super) fn short(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        self.bounded(text, MAX_TEXT_LEN)
    }

    /// The same of [`MAX_META_DATA_LEN`] bytes at most.
    pub(super) fn token(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        self.bounded(text, MAX_META_DATA_LEN)
    }

    /// A text verbatim, or anything else as JSON text; for members that are only stored. At most
    /// [`MAX_META_DATA_LEN`] bytes.
    pub(super) fn any(&mut self, key: &str) -> Option<String> {
        let text = match self.members.remove(key)? {
            Value::Null => return None,
            Value::String(text) => Some(text).filter(|t| !t.is_empty())?,
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        self.bounded(text, MAX_META_DATA_LEN)
    }

    /// JSON text of a member, `"null"` when missing; for members that are relayed. At most
    /// [`MAX_MESSAGE_LEN`] bytes: numbers may be longer than they were written.
    pub(super) fn json(&mut self, key: &str) -> String {
        let text = self.members.remove(key).unwrap_or(Value::Null).to_string();
        self.bounded(text, MAX_MESSAGE_LEN).unwrap_or_default()
    }

    fn bounded(&mut self, text: String, max_len: usize) -> Option<String> {
        self.is_too_long |= text.len() > max_len;
        Some(text).filter(|text| text.len() <= max_len)
    }

    /// True or false, also quoted or as 1 and 0; `None` when missing or neither.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.members.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => Some(number.as_f64() != Some(0.0)),
            Value::String(text) => match text.trim() {
                t if t.eq_ignore_ascii_case("true") || t == "1" => Some(true),
                t if t.eq_ignore_ascii_case("false") || t == "0" => Some(false),
                _ => None,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A whole number, also quoted; fractions are cut off. `None` when missing or no number.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        match self.members.get(key)? {
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_f64().map(|f| f as i64)),
            Value::String(text) => {
                let text = text.trim();
                let whole = text.parse::<i64>().ok();
                whole.or_else(|| text.parse::<f64>().ok().map(|f| f as i64))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A number that cannot be negative: 0 when missing, negative or no number.
    pub(super) fn count(&self, key: &str) -> u32 {
        let number = self.number(key).unwrap_or(0).max(0);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Texts of an array, or one text alone. At most [`MAX_LIST`] entries, the rest is ignored, and
    /// so are those that are longer than any id.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let id_of = |item| text_of(item).filter(|text| text.len() <= MAX_TEXT_LEN);
        match self.members.remove(key) {
            Some(Value::Array(items)) => {
                let texts = items.into_iter().filter_map(id_of);
                texts.take(MAX_LIST).collect()
            }
            Some(other) => id_of(other).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text).filter(|t| !t.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Entries of a list: each id may be said with and without `!`, as audio and as video.
const MAX_LIST: usize = 4 * MAX_TRACK_LIST;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text).unwrap()
    }

    #[test]
    fn null_and_empty_are_absent() {
        let mut f = fields(r#"{"a":null,"b":"","c":"x","d":7,"e":true,"f":{}}"#);
        assert_eq!(f.text("a"), None);
        assert_eq!(f.text("b"), None);
        assert_eq!(f.text("c").as_deref(), Some("x"));
        assert_eq!(f.text("d").as_deref(), Some("7"));
        assert_eq!((f.text("e"), f.text("f"), f.text("g")), (None, None, None));
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_left_out_and_said() {
        let long = "x".repeat(MAX_TEXT_LEN);
        let mut f = fields(&format!(
            r#"{{"a":"{long}","b":"{long}x","c":"{long}x","d":[1e15]}}"#
        ));
        assert_eq!((f.short("a"), f.is_too_long()), (Some(long.clone()), false));
        assert_eq!(f.any("c"), Some(format!("{long}x")));
        assert_eq!((f.short("b"), f.is_too_long()), (None, true));
        let numbers = "1e15,".repeat(MAX_MESSAGE_LEN / 8);
        let mut f = fields(&format!(r#"{{"a":[{numbers}0]}}"#));
        assert_eq!((f.json("a"), f.is_too_long()), (String::new(), true));
    }

    #[test]
    fn flags_may_be_quoted_or_numbers() {
        let f = fields(r#"{"a":true,"b":"False","c":0,"d":"1","e":"maybe","f":null}"#);
        let read = ["a", "b", "c", "d", "e", "f"].map(|k| f.flag(k));
        let want = [Some(true), Some(false), Some(false), Some(true), None, None];
        assert_eq!(read, want);
    }

    #[test]
    fn numbers_may_be_quoted_fractional_or_absurd() {
        let f = fields(r#"{"a":3,"b":" 4 ","c":5.9,"d":-6,"e":1e300,"f":"x","g":"7.2"}"#);
        assert_eq!(f.number("a"), Some(3));
        assert_eq!(f.number("b"), Some(4));
        assert_eq!(f.number("c"), Some(5));
        assert_eq!((f.number("d"), f.count("d")), (Some(-6), 0));
        assert_eq!((f.number("e"), f.count("e")), (Some(i64::MAX), u32::MAX));
        assert_eq!((f.number("f"), f.count("f")), (None, 0));
        assert_eq!(f.number("g"), Some(7));
    }

    #[test]
    fn lists_are_bounded_and_skip_what_is_no_text() {
        let mut f = fields(r#"{"a":["x",null,"",{},3],"b":"alone","c":null}"#);
        assert_eq!(f.list("a"), ["x", "3"]);
        assert_eq!(f.list("b"), ["alone"]);
        assert!(f.list("c").is_empty());
        let long = format!(r#"{{"a":[{}"x"]}}"#, r#""x","#.repeat(5000));
        assert_eq!(fields(&long).list("a").len(), MAX_LIST);
    }

    #[test]
    fn objects_are_kept_as_json_text() {
        let mut f = fields(r#"{"a":{"k":[1]},"b":"{verbatim","c":null}"#);
        assert_eq!(f.any("a").as_deref(), Some(r#"{"k":[1]}"#));
        assert_eq!(f.any("b").as_deref(), Some("{verbatim"));
        assert_eq!(f.any("c"), None);
        let mut f = fields(r#"{"b":"text"}"#);
        assert_eq!(f.json("b"), r#""text""#);
        assert_eq!(f.json("z"), "null");
    }
}
