//! What a player wants of what it is sent, by label: switched off, limited in height.
//!
//! Holds as long as the play: for the tracks that are there, and for those that come later under
//! the same label. `engine/switch.rs` and `engine/layers.rs` take them down, a new [`Sending`]
//! begins with them.
//!
//! [`Sending`]: super::subscriber::Sending

use std::collections::BTreeMap;

use crate::base::codec::MediaKind;
use crate::base::limits::{MAX_STREAM_ID_LEN, MAX_WISHES};
use crate::model::track::StreamId;

/// The wishes of one subscriber.
#[derive(Debug, Default)]
pub struct Wishes {
    audio: Wish,
    video: Wish,
    /// Where they differ from those for all. [`MAX_WISHES`] at most; further ones are for what is
    /// there alone.
    apart: BTreeMap<(StreamId, MediaKind), Wish>,
}

/// What is wanted of one kind of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Nothing of it is to be sent.
    pub is_off: bool,
    /// Rows of the picture at most; 0: any.
    pub max_height: u32,
}

impl Wishes {
    /// What is wanted of this kind of media under `label`.
    pub fn of(&self, label: &StreamId, kind: MediaKind) -> Wish {
        let apart = self.apart.get(&(label.clone(), kind));
        apart.copied().unwrap_or(self.of_all(kind))
    }

    /// The player says something of this kind of media under `label`; `None`: under any.
    pub fn say(&mut self, label: Option<&StreamId>, kind: MediaKind, change: impl Fn(&mut Wish)) {
        if let Some(label) = label {
            let mut wish = self.of(label, kind);
            change(&mut wish);
            let key = (label.clone(), kind);
            if wish == self.of_all(kind) {
                self.apart.remove(&key);
            } else if self.has_room(&key) {
                self.apart.insert(key, wish);
            }
            return;
        }
        match kind {
            MediaKind::Audio => change(&mut self.audio),
            MediaKind::Video => change(&mut self.video),
        }
        let all = self.of_all(kind);
        self.apart.retain(|(_, of), wish| {
            if *of != kind {
                return true;
            }
            change(wish);
            *wish != all
        });
    }

    fn has_room(&self, key: &(StreamId, MediaKind)) -> bool {
        let is_new = !self.apart.contains_key(key);
        !is_new || self.apart.len() < MAX_WISHES && key.0.len() <= MAX_STREAM_ID_LEN
    }

    fn of_all(&self, kind: MediaKind) -> Wish {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(wish: &mut Wish) {
        wish.is_off = true;
    }

    fn low(wish: &mut Wish) {
        wish.max_height = 240;
    }

    fn wish(is_off: bool, max_height: u32) -> Wish {
        Wish { is_off, max_height }
    }

    #[test]
    fn what_is_said_of_all_holds_for_everybody_and_of_one_for_that_one() {
        use MediaKind::{Audio, Video};
        let (a, b): (StreamId, StreamId) = ("a".into(), "b".into());
        let mut wishes = Wishes::default();
        wishes.say(Some(&a), Video, off);
        assert_eq!(wishes.of(&a, Video), wish(true, 0));
        assert_eq!(wishes.of(&a, Audio), wish(false, 0));
        assert_eq!(wishes.of(&b, Video), wish(false, 0));
        wishes.say(None, Video, low);
        assert_eq!(wishes.of(&a, Video), wish(true, 240));
        assert_eq!(wishes.of(&b, Video), wish(false, 240));
        wishes.say(None, Video, off);
        wishes.say(Some(&b), Video, |wish| wish.is_off = false);
        assert_eq!(wishes.of(&a, Video), wish(true, 240));
        assert_eq!(wishes.of(&b, Video), wish(false, 240));
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let mut wishes = Wishes::default();
        for number in 0..2 * MAX_WISHES {
            wishes.say(Some(&number.to_string().into()), MediaKind::Video, off);
        }
        assert_eq!(wishes.apart.len(), MAX_WISHES);
        wishes.say(Some(&"0".into()), MediaKind::Video, low);
        assert_eq!(wishes.of(&"0".into(), MediaKind::Video), wish(true, 240));
        wishes.say(None, MediaKind::Video, |wish| *wish = Wish::default());
        assert!(wishes.apart.is_empty(), "they are like all");
    }
}
