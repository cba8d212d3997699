// SPDX-License-Identifier: GPL-2.0

//! Connections by number.
//!
//! A number is used again only with another generation, so that an event for
//! a connection that has just been closed finds nothing.

/// Where a value is: what an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The place.
    pub(crate) index: u32,
    /// Which of those that have been there.
    pub(crate) generation: u32,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by [`Key`].
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

/// Generations fit into this many bits.
pub(crate) const GENERATION_BITS: u32 = 30;

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A key for a value to come; [`put`](Self::put) or [`free`](Self::free)
    /// it.
    pub(crate) fn reserve(&mut self) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                value: None,
            });
            self.places.len() as u32 - 1
        });
        Key {
            index,
            generation: self.places[index as usize].generation,
        }
    }

    /// Takes a value out; its key stays reserved.
    pub(crate) fn take(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        (place.generation == key.generation)
            .then(|| place.value.take())
            .flatten()
    }

    /// Puts a value where its key says.
    pub(crate) fn put(&mut self, key: Key, value: T) {
        self.places[key.index as usize].value = Some(value);
    }

    /// Gives a key back whose value is gone.
    pub(crate) fn free(&mut self, key: Key) {
        let place = &mut self.places[key.index as usize];
        place.generation = (place.generation + 1) % (1 << GENERATION_BITS);
        self.free.push(key.index);
    }

    /// How many keys are in use.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The keys of the values for which `pick` is true.
    pub(crate) fn keys(&self, pick: impl Fn(&T) -> bool) -> Vec<Key> {
        let picked = self.places.iter().enumerate().filter_map(|(index, place)| {
            pick(place.value.as_ref()?).then_some(Key {
                index: index as u32,
                generation: place.generation,
            })
        });
        picked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing() {
        let mut slab = Slab::new();
        let old = slab.reserve();
        slab.put(old, 'a');
        assert_eq!(slab.take(old), Some('a'));
        slab.free(old);
        assert_eq!(slab.len(), 0);

        let new = slab.reserve();
        slab.put(new, 'b');
        assert_eq!(new.index, old.index);
        assert_eq!(slab.take(old), None);
        assert_eq!(slab.keys(|&value| value == 'b'), [new]);
        assert_eq!(slab.take(new), Some('b'));
    }
}
