//! A table whose keys carry a generation: a stale key finds nothing instead of a stranger.

use slab::Slab;

/// A place in a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Its two numbers, which lead back by [`of_parts`](Self::of_parts): for who names a place to
    /// another process.
    pub const fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }

    /// The key of these numbers, which need not lead to anything.
    pub const fn of_parts((index, generation): (u32, u32)) -> Self {
        Self { index, generation }
    }
}

/// A slab with checked keys. Look-ups are an index and a comparison.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<(u32, T)>,
    generations: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            generations: 0,
        }
    }
}

impl<T> Table<T> {
    /// Stores what `make` returns for its own key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let entry = self.slots.vacant_entry();
        let key = Key {
            index: u32::try_from(entry.key()).unwrap_or(u32::MAX),
            generation,
        };
        entry.insert((generation, make(key)));
        key
    }

    /// The value, unless it was removed.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.slots.get(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// The value, unless it was removed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// Takes the value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index as usize).1)
    }

    /// Every value with its key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().map(|(index, (generation, value))| {
            (
                Key {
                    index: index as u32,
                    generation: *generation,
                },
                value,
            )
        })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = Table::default();
        let a = table.insert_with(|_| "a");
        assert_eq!(table.remove(a), Some("a"));
        let b = table.insert_with(|_| "b");
        assert_eq!(table.get(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get(b), Some(&"b"));
        assert_eq!(table.iter().count(), 1);
    }
}
