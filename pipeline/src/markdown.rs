//! Escaping foreign text (dataset, label and case names) for Markdown.

/// Escapes text for inline use: no markup, HTML or line breaks remain. Characters without effect
/// (underscores inside words, brackets outside links) stay for readability.
pub fn plain(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (at, letter) in letters.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).map(|at| letters[at]), letters.get(at + 1));
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ if letter.is_control() => out.push(' '),
            _ if is_markup(before, *letter, after.copied()) => out.extend(['\\', *letter]),
            _ => out.push(*letter),
        }
    }
    out
}

fn is_markup(before: Option<char>, letter: char, after: Option<char>) -> bool {
    match letter {
        '\\' | '`' | '*' | '|' | '~' => true,
        '_' => ![before, after].iter().all(|side| side.is_some_and(char::is_alphanumeric)),
        ']' => matches!(after, Some('(' | '[' | ':')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn markup_is_shown_and_plain_texts_stay() {
        for (text, shown) in [
            ("hd95_mm [16, 32] x-1.5", "hd95_mm [16, 32] x-1.5"),
            (
                "</script><script>alert(3)</script>",
                "&lt;/script&gt;&lt;script&gt;alert(3)&lt;/script&gt;",
            ),
            ("[a](javascript:x)", "[a\\](javascript:x)"),
            ("a|b\n# c `d` *e* _f_", "a\\|b # c \\`d\\` \\*e\\* \\_f\\_"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
