//! Assignment of needed stages to roles: by type if unambiguous, else by the written map. A program
//! of the person's own has the roles that the workflow names; in a list, a role is named after the
//! type of its artifact.

use super::diagnostic::{either, nearest};
use serde_json::Value;
use std::collections::BTreeMap;
use voxflow_stages::Kind;
use voxflow_stages::stage::{ArtifactType, Count, Read};

/// A mistake in `needs`.
#[derive(Debug, PartialEq)]
pub struct NeedTrouble {
    /// Keys and indices below `needs`.
    pub path: Vec<String>,
    pub trouble: String,
    /// Suggested word.
    pub nearest: Option<String>,
}

/// Stage ids by role.
pub type Roles = BTreeMap<String, Vec<String>>;

/// Type of artifact by stage id; `None` if unknown.
pub type StageTypes = BTreeMap<String, Option<ArtifactType>>;

/// Resolves a stage's `needs`.
pub fn resolve(
    kind: &Kind,
    needs: Option<&Value>,
    stages: &StageTypes,
) -> Result<Roles, Vec<NeedTrouble>> {
    let mut resolver =
        Resolver { kind, stages, roles: Roles::new(), troubles: vec![], unclear: false };
    match needs {
        None | Some(Value::Null) => {}
        Some(Value::Array(ids)) => resolver.list(ids),
        Some(Value::Object(roles)) => roles.iter().for_each(|(role, ids)| resolver.role(role, ids)),
        Some(_) => resolver.say(
            &[],
            "must be a list of stages, or a mapping from role to stage".into(),
            None,
        ),
    }
    resolver.counts();
    if resolver.troubles.is_empty() { Ok(resolver.roles) } else { Err(resolver.troubles) }
}

struct Resolver<'a> {
    kind: &'a Kind,
    stages: &'a StageTypes,
    roles: Roles,
    troubles: Vec<NeedTrouble>,
    /// True after an unresolved need: a missing role may be a consequence.
    unclear: bool,
}

impl Resolver<'_> {
    fn say(&mut self, path: &[&str], trouble: String, nearest: Option<String>) {
        let path = path.iter().map(|key| (*key).to_string()).collect();
        self.troubles.push(NeedTrouble { path, trouble, nearest });
        self.unclear = true;
    }

    fn list(&mut self, ids: &[Value]) {
        for (index, id) in ids.iter().enumerate() {
            let index = index.to_string();
            let Some((id, made)) = self.stage(&[&index], id) else { continue };
            if self.kind.runs_program {
                self.named(&[&index], made.name(), id);
                continue;
            }
            let fitting: Vec<&Read> =
                self.kind.reads.iter().filter(|read| read.artifact == made).collect();
            match fitting[..] {
                [] => {
                    let wanted: Vec<&str> =
                        self.kind.reads.iter().map(|read| read.artifact.words()).collect();
                    let wanted =
                        if wanted.is_empty() { "nothing".into() } else { wanted.join(", ") };
                    let makes = made.words();
                    let name = self.kind.name;
                    self.say(
                        &[&index],
                        format!("'{id}' makes {makes}, and '{name}' reads {wanted}; remove it"),
                        None,
                    );
                }
                [read] => self.roles.entry(read.role.to_string()).or_default().push(id),
                _ => {
                    let roles: Vec<&str> = fitting.iter().map(|read| read.role).collect();
                    let example = roles.first().copied().unwrap_or_default();
                    let trouble = format!(
                        "'{id}' could be {}; write which, as in needs: {{ {example}: {id} }}",
                        either(&roles)
                    );
                    self.say(&[&index], trouble, None);
                }
            }
        }
    }

    /// Gives a program's input to a role of that name.
    fn named(&mut self, path: &[&str], role: &str, id: String) {
        if role.is_empty() || !role.chars().all(is_of_name) {
            let trouble = format!("role '{role}': has letters, digits, '_' and '-' only");
            return self.say(path, trouble, None);
        }
        match self.roles.get(role).and_then(|ids| ids.first()) {
            None => drop(self.roles.insert(role.to_string(), vec![id])),
            Some(first) if *first == id => {
                self.say(path, format!("'{id}' is needed twice; remove one"), None);
            }
            Some(first) => {
                let trouble = format!(
                    "'{first}' and '{id}' would both be '{role}'; name the roles, as in needs: {{ \
                     first: {first}, second: {id} }}"
                );
                self.say(path, trouble, None);
            }
        }
    }

    /// A role of a program, with a single stage.
    fn role_of_program(&mut self, role: &str, id: &Value) {
        if id.is_array() {
            let trouble =
                format!("role '{role}' of a program takes one stage; name a role for each");
            return self.say(&[role], trouble, None);
        }
        if let Some((id, _)) = self.stage(&[role], id) {
            self.named(&[role], role, id);
        }
    }

    fn role(&mut self, role: &str, ids: &Value) {
        if self.kind.runs_program {
            return self.role_of_program(role, ids);
        }
        let Some(read) = self.kind.reads.iter().find(|read| read.role == role) else {
            let known: Vec<&str> = self.kind.reads.iter().map(|read| read.role).collect();
            let trouble =
                format!("'{}' has no role '{role}'; it has {}", self.kind.name, either(&known));
            let near = nearest(role, known.iter().copied());
            return self.say(&[role], trouble, near);
        };
        let single = [ids.clone()];
        let (list, nested) =
            ids.as_array().map_or((&single[..], false), |list| (list.as_slice(), true));
        for (index, id) in list.iter().enumerate() {
            let index = index.to_string();
            let path = if nested { vec![role, index.as_str()] } else { vec![role] };
            let Some((id, made)) = self.stage(&path, id) else { continue };
            if made == read.artifact {
                self.roles.entry(role.to_string()).or_default().push(id);
            } else {
                let (wanted, makes) = (read.artifact.words(), made.words());
                self.say(
                    &path,
                    format!("role '{role}' reads {wanted}, and '{id}' makes {makes}"),
                    None,
                );
            }
        }
    }

    /// The needed stage with the type of its artifact, if both are known.
    fn stage(&mut self, path: &[&str], id: &Value) -> Option<(String, ArtifactType)> {
        let Some(id) = id.as_str() else {
            self.say(path, format!("must be the name of a stage, but is {id}"), None);
            return None;
        };
        match self.stages.get(id) {
            Some(Some(made)) => Some((id.to_string(), *made)),
            Some(None) => {
                self.unclear = true;
                None
            }
            None => {
                let near = nearest(id, self.stages.keys().map(String::as_str));
                self.say(path, format!("there is no stage '{id}'"), near);
                None
            }
        }
    }

    /// Checks the number of stages per role.
    fn counts(&mut self) {
        for read in self.kind.reads {
            let ids = self.roles.get(read.role).cloned().unwrap_or_default();
            let repeated = ids.iter().enumerate().find(|(index, id)| ids[..*index].contains(id));
            if let Some((_, id)) = repeated {
                self.say(&[], format!("'{id}' is needed twice; remove one"), None);
            } else if ids.len() > 1 && read.count != Count::Many {
                let trouble = format!(
                    "{} could each be the '{}' ({}), and '{}' takes one; keep one",
                    either(&ids).replace(" or ", " and "),
                    read.role,
                    read.doc,
                    self.kind.name
                );
                self.say(&[], trouble, None);
            } else if ids.is_empty() && read.count != Count::Optional && !self.unclear {
                self.missing(read);
            }
        }
    }

    fn missing(&mut self, read: &Read) {
        let makers: Vec<&String> = self
            .stages
            .iter()
            .filter(|(_, made)| **made == Some(read.artifact))
            .map(|(id, _)| id)
            .collect();
        let wanted = read.artifact.words();
        let way = match makers[..] {
            [] => format!("no stage makes {wanted}"),
            _ => format!("{wanted} is made by {}", either(&makers)),
        };
        let trouble = format!(
            "'{}' reads {wanted} ({}), and nothing needed makes it; {way}",
            self.kind.name, read.doc
        );
        self.troubles.push(NeedTrouble { path: vec![], trouble, nearest: None });
    }
}

/// True for characters of names of stages and roles.
pub fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

/// True if a role accepts several stages.
pub fn takes_many(kind: &Kind, role: &str) -> bool {
    kind.reads.iter().any(|read| read.role == role && read.count == Count::Many)
}
