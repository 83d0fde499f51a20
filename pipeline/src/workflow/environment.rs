//! Expands `${NAME}` and `${NAME:-default}` in strings, as in docker compose; `$$` is a dollar
//! sign.

use crate::secret;

/// Looks up a variable.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Variables from this process; values of secret-looking names are hidden from then on.
pub fn process(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    secret::remember(name, &value);
    Some(value)
}

/// Expands a text, or describes its mistake.
pub fn expand(text: &str, environment: &Environment) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after
                .split_once('}')
                .ok_or_else(|| "'${' has no '}'; write '$$' for a dollar sign".to_string())?;
            let value = variable(inside, environment)?;
            if text.contains("://") {
                secret::remember_in_url(&value);
            }
            out.push_str(&value);
            after
        } else {
            return Err(
                "a single '$'; write '${NAME}' for a variable or '$$' for a dollar sign".into()
            );
        };
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inside: &str, environment: &Environment) -> Result<String, String> {
    let (name, default) =
        inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "'${{{inside}}}' is no variable; write '${{NAME}}' or '${{NAME:-default}}'"
        ));
    }
    let value = environment(name);
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_string()),
        (None, None) => Err(format!(
            "the environment has no '{name}'; set it, or give a default: '${{{name}:-default}}'"
        )),
    }
}

/// A reference to a variable.
#[derive(Debug, PartialEq)]
pub struct Variable {
    pub name: String,
    pub default: Option<String>,
}

/// Variables referenced in a text, as understood by [`expand`].
pub fn variables(text: &str) -> Vec<Variable> {
    let mut found = vec![];
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let inside = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        rest = match inside {
            Some((inside, after)) => {
                let (name, default) = inside
                    .split_once(":-")
                    .map_or((inside, None), |(name, default)| (name, Some(default.to_string())));
                found.push(Variable { name: name.to_string(), default });
                after
            }
            None => after.strip_prefix('$').unwrap_or(after),
        };
    }
    found
}

/// Escapes a text; inverse of [`expand`].
pub fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "ROOT" => Some("/data".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_and_defaults_are_filled_in_as_docker_compose_does() {
        let expand = |text| expand(text, &environment).unwrap();
        assert_eq!(expand("${ROOT}/a.tar"), "/data/a.tar");
        assert_eq!(expand("${NONE:-x y}/${EMPTY:-z}/${EMPTY}"), "x y/z/");
        assert_eq!(expand("costs 5$$ ${ROOT}"), "costs 5$ /data");
        assert_eq!(expand(&escape("${ROOT} $")), "${ROOT} $");
    }

    #[test]
    fn the_variables_of_a_text_are_known_with_their_defaults() {
        let found = variables("$${A}/${B}/${C:-x y}$");
        let of = |name: &str, default: Option<&str>| Variable {
            name: name.into(),
            default: default.map(str::to_string),
        };
        assert_eq!(found, [of("B", None), of("C", Some("x y"))]);
    }

    #[test]
    fn what_cannot_be_filled_in_is_a_mistake() {
        for (text, word) in [
            ("${NONE}", "'NONE'"),
            ("${A", "no '}'"),
            ("$HOME", "single '$'"),
            ("${A B}", "no variable"),
        ] {
            let trouble = expand(text, &environment).unwrap_err();
            assert!(trouble.contains(word), "{text}: {trouble}");
        }
    }
}
