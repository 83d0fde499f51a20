//! Relays a node's messages from the attempt folder.

use super::attempt::Start;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use voxflow_stages::Message;

/// Relays all messages from a finished start except transient ones. Only the first `bytes` belong
/// to the verdict; later lines are ignored.
pub(super) fn replay(start: &Start, bytes: u64, mut tell: impl FnMut(Message)) {
    let Ok(file) = File::open(start.said()) else { return };
    for line in BufReader::new(file.take(bytes)).split(b'\n').map_while(std::io::Result::ok) {
        match serde_json::from_slice(&line) {
            Ok(message) if is_of_the_moment(&message) => {}
            Err(_) => {}
            Ok(message) => tell(message),
        }
    }
}

/// Follows a running start: relays only transient messages, since metrics count only after success.
#[derive(Debug, Default)]
pub(super) struct Listener {
    start: Option<Start>,
    heard: u64,
    items_made: u64,
}

impl Listener {
    /// Relays messages that arrived since the last call.
    pub(super) fn hear(&mut self, start: &Start, mut tell: impl FnMut(Message)) {
        if self.start.as_ref() != Some(start) {
            *self = Listener { start: Some(start.clone()), ..Listener::default() };
        }
        let Ok(mut file) = File::open(start.said()) else { return };
        if file.seek(SeekFrom::Start(self.heard)).is_err() {
            return;
        }
        let mut text = vec![];
        if file.read_to_end(&mut text).is_err() {
            return;
        }
        // A line that is still being written is heard next time.
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return };
        self.heard += end as u64 + 1;
        let messages = text[..end].split(|byte| *byte == b'\n');
        for message in messages.filter_map(|line| serde_json::from_slice(line).ok()) {
            match message {
                Message::Item { made: true, .. } => self.items_made += 1,
                message if is_of_the_moment(&message) => tell(message),
                _ => {}
            }
        }
    }

    /// Items made by the start that was heard last.
    pub(super) fn items_made(&self) -> u64 {
        self.items_made
    }
}

/// True for messages that are meaningful only while new.
fn is_of_the_moment(message: &Message) -> bool {
    matches!(message, Message::Progress(_) | Message::Resumed { .. } | Message::Waiting { .. })
}
