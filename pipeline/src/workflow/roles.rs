//! Assignment of needed stages to roles: by type if unambiguous, else by the written map.

use super::diagnostic::{either, nearest};
use serde_json::Value;
use std::collections::BTreeMap;
use voxflow_stages::Kind;
use voxflow_stages::stage::{Count, Read};

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

/// Kind by stage id; `None` if unknown.
pub type StageKinds = BTreeMap<String, Option<&'static Kind>>;

/// Resolves a stage's `needs`.
pub fn resolve(
    kind: &Kind,
    needs: Option<&Value>,
    stages: &StageKinds,
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
    stages: &'a StageKinds,
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
            let Some((id, kind)) = self.stage(&[&index], id) else { continue };
            let fitting: Vec<&Read> =
                self.kind.reads.iter().filter(|read| read.artifact == kind.makes).collect();
            match fitting[..] {
                [] => {
                    let wanted: Vec<&str> =
                        self.kind.reads.iter().map(|read| read.artifact.words()).collect();
                    let wanted =
                        if wanted.is_empty() { "nothing".into() } else { wanted.join(", ") };
                    let makes = kind.makes.words();
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

    fn role(&mut self, role: &str, ids: &Value) {
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
            let Some((id, kind)) = self.stage(&path, id) else { continue };
            if kind.makes == read.artifact {
                self.roles.entry(role.to_string()).or_default().push(id);
            } else {
                let (wanted, makes) = (read.artifact.words(), kind.makes.words());
                self.say(
                    &path,
                    format!("role '{role}' reads {wanted}, and '{id}' makes {makes}"),
                    None,
                );
            }
        }
    }

    /// The needed stage with its kind, if both are known.
    fn stage(&mut self, path: &[&str], id: &Value) -> Option<(String, &'static Kind)> {
        let Some(id) = id.as_str() else {
            self.say(path, format!("must be the name of a stage, but is {id}"), None);
            return None;
        };
        match self.stages.get(id) {
            Some(Some(kind)) => Some((id.to_string(), kind)),
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
            .filter(|(_, kind)| kind.is_some_and(|kind| kind.makes == read.artifact))
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

/// True if a role accepts several stages.
pub fn takes_many(kind: &Kind, role: &str) -> bool {
    kind.reads.iter().any(|read| read.role == role && read.count == Count::Many)
}
