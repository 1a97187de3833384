//! A list of texts that does not change, in two allocations however many there are: a token of 8 KiB may have
//! thousands of permissions of one letter, and a permission thousands of wildcards, and a `Box<str>` for each would
//! take fifty bytes for one.

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Texts {
    joined: Box<str>,
    /// Where each text ends in `joined`. 32 bits are enough for anything that a request brings.
    ends: Box<[u32]>,
}

impl Texts {
    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.joined[start..end as usize];
            start = end as usize;
            text
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Length of all texts together.
    #[must_use]
    pub fn joined_len(&self) -> usize {
        self.joined.len()
    }

    /// Memory behind the list.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.joined.len() + size_of_val(&*self.ends)
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let (mut joined, mut ends) = (String::new(), Vec::new());
        for text in texts {
            joined.push_str(text.as_ref());
            ends.push(joined.len() as u32);
        }
        Self { joined: joined.into(), ends: ends.into() }
    }
}

impl<T: AsRef<str>> From<Vec<T>> for Texts {
    fn from(texts: Vec<T>) -> Self {
        texts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(texts in prop::collection::vec(".{0,5}", 0..20)) {
            let list: Texts = texts.iter().collect();
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
            prop_assert_eq!(list.is_empty(), texts.is_empty());
            prop_assert_eq!(&Texts::from(texts), &list);
        }
    }

    #[test]
    fn lists_that_join_to_the_same_text_are_not_equal() {
        assert_ne!(Texts::from(vec!["ab", "c"]), Texts::from(vec!["a", "bc"]));
        assert_ne!(Texts::from(vec![""]), Texts::default());
    }

    #[test]
    fn a_letter_takes_five_bytes() {
        assert_eq!(Texts::from(vec!["x"; 1000]).heap_bytes(), 5000);
    }
}
