//! Texts of other people (names of cases, files and labels, and messages that quote them) on a
//! terminal: control characters are shown and not obeyed.

use crate::event::Event;
use serde_json::Value;
use std::borrow::Cow;

/// The text with control characters as `\x1b` or `\u{202e}`; line feeds and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter as u32 {
            _ if !is_control(letter) => out.push(letter),
            code @ 0..=0xff => out += &format!("\\x{code:02x}"),
            code => out += &format!("\\u{{{code:x}}}"),
        }
    }
    Cow::Owned(out)
}

/// C0 and C1 controls, and what turns the direction of a line of text.
fn is_control(letter: char) -> bool {
    let is_layout = matches!(letter, '\n' | '\t');
    let is_direction = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (letter.is_control() && !is_layout) || is_direction
}

/// The event with printable texts.
pub fn event(event: &Event) -> Cow<'_, Event> {
    let Ok(mut value) = serde_json::to_value(event) else { return Cow::Borrowed(event) };
    match clean(&mut value) {
        true => serde_json::from_value(value).map_or(Cow::Borrowed(event), Cow::Owned),
        false => Cow::Borrowed(event),
    }
}

/// Makes all texts printable, keys excepted; true if one was not.
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
            ("case \u{1b}[31mred\u{1b}[0m", "case \\x1b[31mred\\x1b[0m"),
            ("a\u{7}\u{8}\r\n\tb", "a\\x07\\x08\\x0d\n\tb"),
            ("\u{9b}2J \u{7f}", "\\x9b2J \\x7f"),
            ("gnp.\u{202e}exe", "gnp.\\u{202e}exe"),
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
        assert_eq!(*event(&said("case \u{1b}]0;x\u{7}")), said("case \\x1b]0;x\\x07"));
        assert!(matches!(event(&said("case a")), Cow::Borrowed(_)));
    }
}
