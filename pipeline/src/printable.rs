//! Foreign text (case, file and label names) on a terminal: control characters are escaped, not
//! executed.

use crate::event::Event;
use serde_json::Value;
use std::borrow::Cow;

/// Escapes control characters as `\u001b`, except line feeds and tabs. JSON stays valid: the
/// escapes are JSON's own.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_control(letter) {
            true => out += &format!("\\u{:04x}", letter as u32),
            false => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// C0 and C1 controls, and characters changing text direction.
fn is_control(letter: char) -> bool {
    let is_layout = matches!(letter, '\n' | '\t');
    let is_direction = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (letter.is_control() && !is_layout) || is_direction
}

/// Event with printable texts.
pub fn event(event: &Event) -> Cow<'_, Event> {
    let Ok(mut value) = serde_json::to_value(event) else { return Cow::Borrowed(event) };
    match clean(&mut value) {
        true => serde_json::from_value(value).map_or(Cow::Borrowed(event), Cow::Owned),
        false => Cow::Borrowed(event),
    }
}

/// Escapes all strings except keys; true if any changed.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => match printable(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(shown) => {
                *text = shown;
                true
            }
        },
        Value::Array(items) => items.iter_mut().fold(false, |found, item| clean(item) | found),
        Value::Object(fields) => fields.values_mut().fold(false, |found, item| clean(item) | found),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Fact;
    use voxflow_stages::Message;

    #[test]
    fn control_characters_are_shown_and_lines_stay() {
        for (text, shown) in [
            ("case \u{1b}[31mred\u{1b}[0m", "case \\u001b[31mred\\u001b[0m"),
            ("a\u{7}\u{8}\r\n\tb", "a\\u0007\\u0008\\u000d\n\tb"),
            ("\u{9b}2J \u{7f}", "\\u009b2J \\u007f"),
            ("gnp.\u{202e}exe", "gnp.\\u202eexe"),
            ("plain äöü 医学", "plain äöü 医学"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn all_texts_of_an_event_are_printable() {
        let said = |words: &str| Event {
            at_ms: 1,
            fact: Fact::StageSaid {
                stage: "a".into(),
                replayed: false,
                message: Message::Warning { words: words.into() },
            },
        };
        assert_eq!(*event(&said("case \u{1b}]0;x\u{7}")), said("case \\u001b]0;x\\u0007"));
        assert!(matches!(event(&said("case a")), Cow::Borrowed(_)));
    }
}
