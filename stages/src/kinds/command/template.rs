//! `${NAME}` in words and shell lines.

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// A name to be filled in.
    Name(&'a str),
}

/// The pieces of a template. `$${` stands for `${`; any other dollar sign is plain text.
pub(super) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else { break };
        pieces.extend([Piece::Text(before), Piece::Name(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// The names in a template.
pub(super) fn names(template: &str) -> impl Iterator<Item = &str> {
    pieces(template).into_iter().filter_map(|piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_braces_and_two_dollars_keep_them_from_being_filled_in() {
        let filled = |template: &str| -> String {
            let texts = pieces(template).into_iter().map(|piece| match piece {
                Piece::Text(text) => text.to_string(),
                Piece::Name(name) => format!("<{name}>"),
            });
            texts.collect()
        };
        for (template, wanted) in [
            ("--in=${inputs.data}/a", "--in=<inputs.data>/a"),
            ("${a}${b.c}", "<a><b.c>"),
            ("$${a} $HOME $$ 5$", "${a} $HOME $$ 5$"),
            ("${a", "${a"),
            ("", ""),
        ] {
            assert_eq!(filled(template), wanted);
        }
        assert_eq!(names("${a} $${b} ${c}").collect::<Vec<_>>(), ["a", "c"]);
    }
}
