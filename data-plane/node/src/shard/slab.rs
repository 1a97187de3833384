//! A generational slab in chunks: growing it moves nothing, and a stale token never finds its slot's successor.

const CHUNK: usize = 256;
const NONE: u32 = u32::MAX;

/// Names one value for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Token {
    /// As one word, for the poller.
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }
}

struct Entry<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

/// Values by index; indices of removed values are used again with a new generation.
pub(super) struct Slab<T> {
    chunks: Vec<Box<[Entry<T>]>>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The token that the next [`Self::insert`] will give.
    pub(super) fn next_token(&mut self) -> Token {
        if self.free == NONE {
            self.grow();
        }
        Token { index: self.free, generation: self.entry(self.free).map_or(0, |e| e.generation) }
    }

    pub(super) fn insert(&mut self, value: T) -> Token {
        let token = self.next_token();
        if let Some(entry) = self.entry_mut(token.index) {
            entry.value = Some(value);
            self.free = entry.next_free;
            self.len += 1;
        }
        token
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let free = self.free;
        let entry = self.entry_mut(index)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next_free = free;
        self.free = index;
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.entry(index)?.value.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entry_mut(index)?.value.as_mut()
    }

    /// The token of a living value.
    pub(super) fn token(&self, index: u32) -> Option<Token> {
        let entry = self.entry(index)?;
        entry.value.as_ref()?;
        Some(Token { index, generation: entry.generation })
    }

    pub(super) fn is_live(&self, token: Token) -> bool {
        self.token(token.index) == Some(token)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.iter_from(0)
    }

    /// Values from an index on; what comes before costs nothing.
    pub(super) fn iter_from(&self, from: u32) -> impl Iterator<Item = (u32, &T)> {
        let chunk = from as usize / CHUNK;
        self.chunks
            .iter()
            .skip(chunk)
            .flat_map(|chunk| chunk.iter())
            .zip((chunk * CHUNK) as u32..)
            .skip(from as usize % CHUNK)
            .filter_map(|(entry, index)| Some((index, entry.value.as_ref()?)))
    }

    #[inline]
    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    #[inline]
    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let after = self.free;
        let chunk = (0..CHUNK as u32)
            .map(|i| Entry {
                generation: 0,
                next_free: if i + 1 == CHUNK as u32 { after } else { first + i + 1 },
                value: None,
            })
            .collect();
        self.chunks.push(chunk);
        self.free = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_does_not_find_the_successor_of_its_slot() {
        let mut slab = Slab::new();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first.index), Some("a"));
        let second = slab.insert("b");
        assert_eq!(first.index, second.index);
        assert!(!slab.is_live(first));
        assert!(slab.is_live(second));
        assert_eq!(Token::from_word(second.to_word()), second);
    }

    #[test]
    fn grows_by_chunks_and_iterates_in_index_order() {
        let mut slab = Slab::new();
        for i in 0..1000 {
            assert_eq!(slab.next_token(), slab.insert(i));
        }
        slab.remove(500);
        assert_eq!(slab.len(), 999);
        assert!(slab.iter().map(|(i, v)| (i as i32, *v)).eq((0..1000).filter(|i| *i != 500).map(|i| (i, i))));
        for from in [0, 1, 255, 256, 499, 500, 999, 1000, 1023, 1024, 5000] {
            let expected = slab.iter().filter(|(i, _)| *i >= from);
            assert!(slab.iter_from(from).eq(expected), "{from}");
        }
    }
}
