//! From a request to all that starting it needs. Reads the image's files, changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bhatti_proto::message::{Exec, RefusalKind, Variable};

use super::lookup::{self, DEFAULT_PATH};
use super::refusal::Refusal;
use super::users::{self, User};

/// What commands get that do not say otherwise; comes with the identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    pub(crate) cwd: Option<String>,
}

/// A command, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
    pub(crate) user: User,
    pub(crate) stdin: bool,
}

/// Plans a command for an image whose `/etc` is `etc`.
pub(crate) fn plan(etc: &Path, defaults: &Defaults, exec: &Exec) -> Result<Plan, Refusal> {
    let [program, ..] = &exec.argv[..] else {
        return Err(Refusal::invalid("no command was given"));
    };
    if program.is_empty() {
        return Err(lookup::not_found("\"\""));
    }
    // The agent's own user is root, except inside another process.
    let own = nix::unistd::geteuid().to_string();
    let spec = exec
        .user
        .as_deref()
        .or(defaults.user.as_deref())
        .unwrap_or(&own);
    let user = users::find(etc, spec)?;
    let env = environment(&user, defaults, &exec.env);
    let cwd = directory(&user, defaults, exec.cwd.as_deref());
    let strings = exec.argv.iter().chain(env.keys()).chain(env.values());
    if strings
        .chain(exec.cwd.iter())
        .any(|text| text.contains('\0'))
    {
        return Err(Refusal::invalid(
            "arguments and environment may hold no NUL",
        ));
    }
    // Looked at before the program, which may be relative to it. Whether the user may enter it
    // only the user's own process can tell.
    if !cwd.is_dir() {
        return Err(bad_cwd(&cwd, "no such directory"));
    }
    let path = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    Ok(Plan {
        program: lookup::find(program, path, &cwd)?,
        argv: exec.argv.clone(),
        env,
        cwd,
        user,
        stdin: exec.stdin,
    })
}

fn environment(user: &User, defaults: &Defaults, own: &[Variable]) -> BTreeMap<String, String> {
    let base = [
        ("PATH", DEFAULT_PATH),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
    ];
    let base = base.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let defaults = defaults
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let own = own
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone()));
    base.into_iter().chain(defaults).chain(own).collect()
}

/// The directory to start in: the one asked for, else the machine's, else the user's home, else
/// the root. Only one that was asked for has to exist.
fn directory(user: &User, defaults: &Defaults, asked: Option<&str>) -> PathBuf {
    let root = Path::new("/");
    let fallback = [defaults.cwd.as_deref(), Some(&user.home)]
        .into_iter()
        .flatten()
        .map(|dir| root.join(dir))
        .find(|dir| dir.is_dir())
        .unwrap_or_else(|| root.to_owned());
    match asked {
        Some(dir) if !dir.is_empty() => fallback.join(dir),
        _ => fallback,
    }
}

pub(crate) fn bad_cwd(cwd: &Path, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        RefusalKind::BadCwd,
        format!(
            "cannot use {} as the working directory: {why}",
            cwd.display()
        ),
    )
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use bhatti_proto::message::{Exec, RefusalKind, Variable};

    use super::{Defaults, Plan, plan};
    use crate::exec::refusal::Refusal;

    fn planned(defaults: &Defaults, exec: &Exec) -> Result<Plan, Refusal> {
        plan(Path::new("/does/not/exist"), defaults, exec)
    }

    fn exec(argv: &[&str]) -> Exec {
        Exec {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            ..Exec::default()
        }
    }

    #[test]
    fn the_commands_environment_is_over_the_machines_and_that_over_the_users() {
        let defaults = Defaults {
            env: [("HOME", "/srv"), ("A", "machine"), ("B", "machine")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Defaults::default()
        };
        let variable = Variable {
            name: "A".into(),
            value: "own".into(),
        };
        let plan = planned(
            &defaults,
            &Exec {
                env: vec![variable],
                ..exec(&["sh"])
            },
        )
        .unwrap();
        let value = |name: &str| plan.env.get(name).map(String::as_str);
        assert_eq!(value("A"), Some("own"));
        assert_eq!(value("B"), Some("machine"));
        assert_eq!(value("HOME"), Some("/srv"));
        assert_eq!(value("USER"), Some("root"));
    }

    #[test]
    fn a_directory_of_the_machines_that_is_gone_is_passed_over_and_one_asked_for_is_not() {
        let defaults = Defaults {
            cwd: Some("/gone".into()),
            user: Some("4242".into()),
            ..Defaults::default()
        };
        assert_eq!(
            planned(&defaults, &exec(&["sh"])).unwrap().cwd,
            Path::new("/")
        );
        let asked = Exec {
            cwd: Some("/gone".into()),
            ..exec(&["sh"])
        };
        assert_eq!(
            planned(&defaults, &asked).unwrap_err().kind,
            RefusalKind::BadCwd
        );
    }

    #[test]
    fn what_linux_cannot_pass_on_is_refused() {
        for argv in [&[][..], &["sh", "a\0b"]] {
            let refused = planned(&Defaults::default(), &exec(argv)).unwrap_err();
            assert_eq!(refused.kind, RefusalKind::Invalid);
        }
        let refused = planned(&Defaults::default(), &exec(&[""])).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::NotFound);
    }
}
