//! Notes: remarks on a dataset as found, told before any work.

use crate::record::Message;

/// Messages, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes(pub Vec<Message>);

impl Notes {
    /// Worth knowing.
    pub fn info(&mut self, words: impl Into<String>) {
        self.0.push(Message::Info { words: words.into() });
    }

    /// Worth worrying.
    pub fn warn(&mut self, words: impl Into<String>) {
        self.0.push(Message::Warning { words: words.into() });
    }
}
