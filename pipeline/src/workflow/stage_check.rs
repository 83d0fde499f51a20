//! The stages of a workflow: kinds, needs, parameters and resources, with their mistakes.

use super::check::{WorkflowChecker, keys};
use super::diagnostic::{either, nearest};
use super::earlier::{self, EarlierName, NotFound};
use super::roles::{self, Roles, StageTypes};
use super::spec::StageSpec;
use super::stage_resources::{self, StageResources};
use super::validate::{self, SchemaFinding};
use serde_json::{Map, Value};
use voxflow_stages::Kind;
use voxflow_stages::stage::{ArtifactType, Read, Seed};

const STAGE_KEYS: [&str; 4] = ["uses", "needs", "with", "resources"];

/// Limits output and work: every mistake is compared with all valid words.
const MOST_MISTAKES: usize = 200;

impl WorkflowChecker<'_> {
    /// Stages in file order; true if all are valid.
    pub(super) fn stages(
        &mut self,
        top: &Map<String, Value>,
        workflow: &str,
        seed: Option<u64>,
    ) -> (Vec<StageSpec>, bool) {
        let Some(fields) =
            top.get("stages").and_then(Value::as_object).filter(|fields| !fields.is_empty())
        else {
            let path = if top.contains_key("stages") { keys(&["stages"]) } else { vec![] };
            self.say(&path, false, "needs 'stages', a mapping from name to stage".into(), None);
            return (vec![], false);
        };
        let mut known: StageTypes =
            fields.iter().map(|(id, stage)| (id.clone(), self.makes(stage))).collect();
        let before = self.mistakes.len();
        self.look_up_earlier(fields, workflow, &mut known);
        let mut stages = vec![];
        for (id, stage) in fields {
            if self.mistakes.len() >= MOST_MISTAKES {
                let trouble =
                    "so many mistakes stand before this stage that the rest was not looked at";
                self.say(&keys(&["stages", id]), true, trouble.into(), None);
                break;
            }
            stages.extend(self.stage(id, stage, seed, &known));
        }
        // Needs may be wrong while others are right: a circle is looked for among what is sound.
        (stages, self.mistakes.len() == before)
    }

    /// Looks up the artifacts of earlier runs that needs name.
    fn look_up_earlier(
        &mut self,
        stages: &Map<String, Value>,
        workflow: &str,
        known: &mut StageTypes,
    ) {
        for (path, need) in earlier::named(stages) {
            if known.contains_key(&need) {
                continue;
            }
            let name = EarlierName::parse(&need).map_err(NotFound::new);
            let found = name.and_then(|name| self.runs.find(&name, workflow));
            known.insert(need.clone(), found.as_ref().ok().map(|found| found.makes));
            match found {
                Ok(found) => drop(self.earlier.insert(need, found)),
                Err(NotFound { trouble, nearest }) => self.say(&path, false, trouble, nearest),
            }
        }
    }

    /// Needs with earlier artifacts by their ids, whatever name was written.
    fn by_id(&mut self, path: &[String], mut needs: Roles) -> Option<Roles> {
        for (role, ids) in &mut needs {
            for at in 0..ids.len() {
                let Some(found) = self.earlier.get(&ids[at]) else { continue };
                let id = found.id();
                if let Some(other) = ids[..at].iter().position(|other| *other == id) {
                    let path: Vec<String> =
                        path.iter().cloned().chain(["needs".into(), role.clone()]).collect();
                    let trouble = format!("names {other} and {at}, from 0, are both {id}");
                    self.say(&path, false, format!("{trouble}; remove one"), None);
                    return None;
                }
                ids[at] = id;
            }
        }
        Some(needs)
    }

    /// The type of a written stage's artifact, if it is known.
    pub(super) fn makes(&self, stage: &Value) -> Option<ArtifactType> {
        let name = stage.get("uses")?.as_str()?;
        let kind = self.kinds.iter().find(|kind| kind.name == name)?;
        kind.makes_by(stage.get("with").unwrap_or(&Value::Null))
    }

    fn stage(
        &mut self,
        id: &str,
        stage: &Value,
        seed: Option<u64>,
        known: &StageTypes,
    ) -> Option<StageSpec> {
        let path = keys(&["stages", id]);
        if id.is_empty() || !id.chars().all(roles::is_of_name) {
            self.say(
                &path,
                true,
                "a stage's name has letters, digits, '_' and '-' only".into(),
                None,
            );
        }
        let Some(fields) = stage.as_object() else {
            self.say(&path, false, "must be a mapping with 'uses'".into(), None);
            return None;
        };
        self.known_keys(fields, &path, &STAGE_KEYS);
        let kind = self.kind(&path, fields)?;
        let needs = self.needs(&path, kind, fields.get("needs"), known);
        let (written, params) = self.params(&path, kind, fields.get("with"), seed)?;
        let resources = self.resources(&path, fields.get("resources"))?;
        let needs = needs?;
        // The role of a need that is not known cannot be told: the need itself is the mistake.
        if kind.runs_program && needs.len() < given(fields.get("needs")) {
            return None;
        }
        let reads = self.reads(&path, kind, &params, &needs, known)?;
        let needs = self.by_id(&path, needs)?;
        let makes = kind.makes_by(&params).unwrap_or(kind.makes);
        let id = id.to_string();
        Some(StageSpec { id, kind, needs, reads, makes, params, written, resources, fold: None })
    }

    /// The roles with their parts; `None` if roles and parameters do not fit together.
    fn reads(
        &mut self,
        path: &[String],
        kind: &Kind,
        params: &Value,
        needs: &Roles,
        known: &StageTypes,
    ) -> Option<Vec<Read>> {
        let roles: Vec<&str> = needs.keys().map(String::as_str).collect();
        let mistakes = kind.check_roles(params, &roles);
        let with: Vec<String> = path.iter().cloned().chain(["with".to_string()]).collect();
        let is_sound = mistakes.is_empty();
        self.say_below(&with, mistakes);
        let given: Vec<(&str, ArtifactType)> = needs
            .iter()
            .filter_map(|(role, ids)| Some((role.as_str(), (*known.get(ids.first()?)?)?)))
            .collect();
        is_sound.then(|| kind.reads_with(params, &given))
    }

    /// Records a kind's own mistakes, given by dotted keys.
    fn say_below(&mut self, path: &[String], mistakes: Vec<(String, String)>) {
        for (key, trouble) in mistakes {
            let below = key.split('.').filter(|key| !key.is_empty()).map(str::to_string);
            let at: Vec<String> = path.iter().cloned().chain(below).collect();
            self.say(&at, false, trouble, None);
        }
    }

    fn kind(&mut self, path: &[String], fields: &Map<String, Value>) -> Option<&'static Kind> {
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
        let uses: Vec<String> = path.iter().cloned().chain(["uses".to_string()]).collect();
        match fields.get("uses") {
            None => self.say(
                path,
                true,
                format!("needs 'uses', the kind of stage: {}", either(&names)),
                None,
            ),
            Some(Value::String(name)) => match self.kinds.iter().find(|kind| kind.name == name) {
                Some(kind) => return Some(kind),
                None => {
                    let near = nearest(name, names.iter().copied());
                    self.say(
                        &uses,
                        false,
                        format!("there is no kind '{name}'; kinds are {}", either(&names)),
                        near,
                    );
                }
            },
            Some(_) => {
                self.say(&uses, false, format!("must be a kind of stage: {}", either(&names)), None)
            }
        }
        None
    }

    fn needs(
        &mut self,
        path: &[String],
        kind: &Kind,
        needs: Option<&Value>,
        known: &StageTypes,
    ) -> Option<Roles> {
        match roles::resolve(kind, needs, known) {
            Ok(roles) => Some(roles),
            Err(troubles) => {
                for trouble in troubles {
                    let below = ["needs".to_string()].into_iter().chain(trouble.path);
                    let path: Vec<String> = path.iter().cloned().chain(below).collect();
                    self.say(&path, false, trouble.trouble, trouble.nearest);
                }
                None
            }
        }
    }

    fn resources(&mut self, stage: &[String], value: Option<&Value>) -> Option<StageResources> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Some(StageResources::default());
        };
        let mut path: Vec<String> = stage.iter().cloned().chain(["resources".into()]).collect();
        let expanded = self.expanded(value, &mut path);
        let findings = validate::check(stage_resources::schema(), &expanded);
        let is_sound = findings.is_empty();
        for finding in findings {
            let at: Vec<String> = path.iter().cloned().chain(finding.path).collect();
            self.say(&at, finding.on_key, finding.trouble, finding.nearest);
        }
        if !is_sound {
            return None;
        }
        match StageResources::read(&expanded) {
            Ok(resources) => Some(resources),
            Err(mistakes) => {
                for (key, trouble) in mistakes {
                    let at: Vec<String> = path.iter().cloned().chain([key]).collect();
                    self.say(&at, false, trouble, None);
                }
                None
            }
        }
    }

    /// Parameters as written (with the workflow's seed) and as parsed.
    fn params(
        &mut self,
        path: &[String],
        kind: &Kind,
        with: Option<&Value>,
        seed: Option<u64>,
    ) -> Option<(Value, Value)> {
        let mut path: Vec<String> = path.iter().cloned().chain(["with".to_string()]).collect();
        let mut written = with
            .filter(|with| !with.is_null())
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new()));
        let schema = kind.schema().as_value();
        if let (Some(seed), Value::Object(fields)) = (seed, &mut written)
            && kind.seed == Seed::Workflow
            && schema["properties"].get("seed").is_some()
        {
            fields.entry("seed").or_insert(seed.into());
        }
        let before = self.mistakes.len();
        let expanded = self.expanded_for(kind, &written, &mut path);
        for finding in validate::check(schema, &expanded) {
            let at: Vec<String> = path.iter().cloned().chain(finding.path.clone()).collect();
            let trouble = self.quoted(&at, &finding, &expanded).unwrap_or(finding.trouble);
            self.say(&at, finding.on_key, trouble, finding.nearest);
        }
        if self.mistakes.len() > before {
            return None;
        }
        // A schema knows single values; the kind itself checks how they fit together.
        match kind.understand(&expanded) {
            Ok(params) => Some((written, params)),
            Err(mistakes) => {
                self.say_below(&path, mistakes);
                None
            }
        }
    }

    /// Message for a scalar that needs quotes.
    fn quoted(&self, at: &[String], finding: &SchemaFinding, params: &Value) -> Option<String> {
        let written = self.document.written(at).filter(|_| finding.wants_quotes)?;
        let value = finding.path.iter().try_fold(params, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })?;
        Some(validate::unquoted(written, value))
    }

    /// Fills in variables, except in parameters where the kind has its own.
    fn expanded_for(&mut self, kind: &Kind, value: &Value, path: &mut Vec<String>) -> Value {
        let Value::Object(fields) = value else { return self.expanded(value, path) };
        let mut out = Map::new();
        for (key, field) in fields {
            path.push(key.clone());
            let field = match kind.templates.contains(&key.as_str()) {
                true => field.clone(),
                false => self.expanded(field, path),
            };
            path.pop();
            out.insert(key.clone(), field);
        }
        Value::Object(out)
    }
}

/// Number of needs as written.
fn given(needs: Option<&Value>) -> usize {
    match needs {
        Some(Value::Array(ids)) => ids.len(),
        Some(Value::Object(roles)) => roles.len(),
        _ => 0,
    }
}
