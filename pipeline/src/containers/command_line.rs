//! The command line of an engine that runs a program in a container. Inside, paths, user, working
//! folder and environment are those that the program has been given.

use super::engine::{ContainerEngine, EngineFamily, PATIENCE};
use super::images;
use super::kept::KeptContainer;
use std::collections::BTreeMap;
use std::env;
use std::sync::OnceLock;
use voxflow_cache::disk;
use voxflow_stages::Result;
use voxflow_stages::container::{Container, Mount};
use voxflow_stages::program::Program;

/// Start of the variables that Apptainer and Singularity set inside.
const INSIDE: [&str; 2] = ["APPTAINERENV_", "SINGULARITYENV_"];

/// Variables with the folder for images that Apptainer and Singularity unpack.
const UNPACKING: [&str; 2] = ["APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"];

/// The engine's own program that runs `program` in its container, which has the name of `kept`.
pub fn of(
    engine: &ContainerEngine,
    kept: Option<&KeptContainer>,
    program: &Program,
    container: &Container,
) -> Result<Program> {
    let image = images::reference(engine, &container.image)?;
    let mut words = vec![engine.program.display().to_string()];
    let environment = match engine.family {
        EngineFamily::Apptainer => {
            words.extend(apptainer_flags(program, container));
            words.push(image);
            words.extend(program.words.iter().cloned());
            apptainer_environment(program, &unpacking_folder(program)?)
        }
        EngineFamily::Podman | EngineFamily::Docker => {
            words.extend(flags(program, container, kept));
            words.extend(user(engine));
            words.extend(gpu_flags(engine, container));
            let (named, environment) = docker_environment(program, own_environment());
            words.extend(named);
            // The image's own entry point stays out.
            let (first, rest) = program
                .words
                .split_first()
                .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            words.extend(["--entrypoint", first, &image].map(String::from));
            words.extend(rest.iter().cloned());
            environment
        }
    };
    Ok(Program { words, environment, container: None, ..program.clone() })
}

/// This process's environment, which an engine needs to find its daemon and its store.
pub fn own_environment() -> BTreeMap<String, String> {
    let texts = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.collect()
}

/// Flags of Docker and Podman.
fn flags(program: &Program, container: &Container, kept: Option<&KeptContainer>) -> Vec<String> {
    let folder = program.folder.display().to_string();
    let mut flags: Vec<String> =
        ["run", "--rm", "--init", "--pull", "never"].map(String::from).into();
    let name = kept.map(|kept| ["--name".to_string(), kept.name.clone()]);
    flags.extend(name.into_iter().flatten());
    // The output comes through pipes; a second copy would fill the daemon's disk.
    flags.extend(["--log-driver", "none", "--cap-drop", "all"].map(String::from));
    flags.extend(["--security-opt", "no-new-privileges"].map(String::from));
    // Labels of SELinux on a person's own files stay as they are.
    flags.extend(["--security-opt", "label=disable"].map(String::from));
    flags.extend(["--workdir".to_string(), folder]);
    if !container.network {
        flags.extend(["--network", "none"].map(String::from));
    }
    flags.extend(mounts(container));
    flags
}

fn mounts(container: &Container) -> impl Iterator<Item = String> {
    container.mounts.iter().flat_map(|mount| ["--mount".to_string(), mount_words(mount)])
}

/// A mount in the words that all engines understand: fields of CSV.
fn mount_words(mount: &Mount) -> String {
    let path = mount.path.display().to_string();
    let [source, target] = ["src", "dst"].map(|key| quoted(&format!("{key}={path}")));
    let rights = if mount.is_writable { "" } else { ",ro" };
    format!("type=bind,{source},{target}{rights}")
}

fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

/// Files that the program writes shall belong to the person.
fn user(engine: &ContainerEngine) -> Vec<String> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let is_root = user.is_root();
    let ids = format!("{}:{}", user.as_raw(), group.as_raw());
    if engine.family == EngineFamily::Podman && !is_root {
        return ["--userns", "keep-id", "--user", &ids].map(String::from).into();
    }
    if engine.family == EngineFamily::Docker && !is_root && is_rootless(engine) {
        // Root inside is the person outside.
        return vec![];
    }
    let groups = rustix::process::getgroups().unwrap_or_default();
    let others = groups.into_iter().filter(|other| *other != group);
    let others = others.flat_map(|other| ["--group-add".into(), other.as_raw().to_string()]);
    ["--user".to_string(), ids].into_iter().chain(others).collect()
}

/// True for a Docker whose daemon runs as the person. It is asked once.
fn is_rootless(engine: &ContainerEngine) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let said = engine.ask(&["info", "--format", "{{.SecurityOptions}}"], PATIENCE);
        said.is_ok_and(|said| said.contains("rootless"))
    })
}

fn gpu_flags(engine: &ContainerEngine, container: &Container) -> Vec<String> {
    let flags = match engine.family {
        _ if !container.gpu => return vec![],
        EngineFamily::Docker => ["--gpus", "all"],
        _ => ["--device", "nvidia.com/gpu=all"],
    };
    flags.map(String::from).into()
}

/// The flags that set the program's variables inside, and the engine's own environment. Values
/// stand in the environment, where other users do not see them, unless the engine has another value
/// of the same name for itself.
fn docker_environment(
    program: &Program,
    mut own: BTreeMap<String, String>,
) -> (Vec<String>, BTreeMap<String, String>) {
    let mut flags = vec![];
    for (name, value) in &program.environment {
        flags.push("--env".to_string());
        match own.get(name).is_some_and(|other| other != value) {
            true => flags.push(format!("{name}={value}")),
            false => {
                flags.push(name.clone());
                own.insert(name.clone(), value.clone());
            }
        }
    }
    (flags, own)
}

fn apptainer_flags(program: &Program, container: &Container) -> Vec<String> {
    let folder = program.folder.display().to_string();
    let home = format!("{folder}:{folder}");
    let mut flags: Vec<String> =
        ["--silent", "exec", "--containall", "--pwd", &folder, "--home", &home]
            .map(String::from)
            .into();
    if !container.network {
        flags.extend(["--net", "--network", "none"].map(String::from));
    }
    if container.gpu {
        flags.push("--nv".into());
    }
    flags.extend(mounts(container));
    flags
}

/// A folder beside the program's working folder. Apptainer unpacks an image here if it cannot mount
/// it, and leaves it if killed.
fn unpacking_folder(program: &Program) -> Result<String> {
    let folder = program.folder.with_file_name("image");
    disk::create_folders(&folder)?;
    Ok(folder.display().to_string())
}

/// Apptainer's environment: variables with its prefix are set inside, and no others.
fn apptainer_environment(program: &Program, unpacking: &str) -> BTreeMap<String, String> {
    let mut own = own_environment();
    own.extend(UNPACKING.map(|name| (name.to_string(), unpacking.to_string())));
    own.retain(|name, _| !INSIDE.iter().any(|prefix| name.starts_with(prefix)));
    // The home folder has a flag.
    let inside = program.environment.iter().filter(|(name, _)| *name != "HOME");
    for (name, value) in inside {
        own.extend(INSIDE.map(|prefix| (format!("{prefix}{name}"), value.clone())));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;
    use voxflow_stages::container::Image;
    use voxflow_stages::program::ProgramLimits;

    fn program() -> Program {
        let limits = ProgramLimits {
            time: Some(Duration::from_secs(1)),
            memory: None,
            processes: 10,
            output: 10,
        };
        Program {
            name: "own".into(),
            words: ["python3", "a.py", "--fast"].map(String::from).into(),
            environment: [("MODE", "fast"), ("HOME", "/scratch/w")]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            folder: "/scratch/w".into(),
            container: None,
            limits,
        }
    }

    fn container(network: bool, gpu: bool) -> Container {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mounts = [("/data, all", false), ("/scratch", true)];
        let mounts =
            mounts.map(|(path, is_writable)| Mount { path: path.into(), is_writable }).into();
        Container { image: Image::Registry { name: "python".into(), digest }, mounts, network, gpu }
    }

    fn line(name: &'static str, family: EngineFamily, container: &Container) -> String {
        let engine =
            ContainerEngine { name, family, program: PathBuf::from(format!("/bin/{name}")) };
        let kept = KeptContainer::new(&engine);
        of(&engine, kept.as_ref(), &program(), container).unwrap().words.join(" ")
    }

    #[test]
    fn docker_and_podman_get_the_same_program_paths_user_and_rights() {
        let closed = line("podman", EngineFamily::Podman, &container(false, false));
        for part in [
            "/bin/podman run --rm --init --pull never --name voxflow-",
            "--workdir /scratch/w --network none",
            "--mount type=bind,\"src=/data, all\",\"dst=/data, all\",ro",
            "--mount type=bind,src=/scratch,dst=/scratch --user",
            "--env HOME=/scratch/w --env MODE --entrypoint python3 docker.io/library/python@sha256",
        ] {
            let part = if rustix::process::getuid().is_root() {
                part.to_string()
            } else {
                part.replace(" --user", " --userns keep-id --user")
            };
            assert!(closed.contains(&part), "{part}: {closed}");
        }
        assert!(closed.ends_with(" a.py --fast"), "{closed}");
        let open = line("podman", EngineFamily::Podman, &container(true, true));
        assert!(!open.contains("--network") && open.contains("--device nvidia.com/gpu=all"));
    }

    #[test]
    fn apptainer_gets_its_own_flags_and_variables_with_its_prefix() {
        let engine = ContainerEngine {
            name: "apptainer",
            family: EngineFamily::Apptainer,
            program: "/bin/apptainer".into(),
        };
        let mut container = container(false, true);
        container.image = Image::File("/images/tools.sif".into());
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("w");
        let program = Program { folder: work.clone(), ..program() };
        let made = of(&engine, None, &program, &container).unwrap();
        let line = made.words.join(" ");
        let work = work.display();
        let start = format!(
            "/bin/apptainer --silent exec --containall --pwd {work} --home {work}:{work} --net \
             --network none --nv --mount type=bind"
        );
        assert!(line.starts_with(&start), "{line}");
        assert!(made.environment["APPTAINER_TMPDIR"].ends_with("/image"));
        assert!(line.ends_with(" /images/tools.sif python3 a.py --fast"), "{line}");
        assert_eq!(made.environment["APPTAINERENV_MODE"], "fast");
        assert_eq!(made.environment.get("APPTAINERENV_HOME"), None);
    }
}
