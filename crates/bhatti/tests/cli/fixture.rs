//! Runs the program in an environment of its own.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A home directory and an environment that nothing of this host leaks into.
pub(crate) struct Home {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("cli").tempdir().unwrap();
        fs_err::create_dir(dir.path().join(".bhatti")).unwrap();
        let variables = vec![
            ("HOME".to_owned(), dir.path().to_str().unwrap().to_owned()),
            // The host's own file, if it has one, is not for tests.
            (
                "BHATTI_SYSTEM_CONFIG".to_owned(),
                dir.path().join("system.yaml").to_str().unwrap().to_owned(),
            ),
        ];
        Self { dir, variables }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the daemon's socket is looked for.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.path().join(".bhatti/bhatti.sock")
    }

    /// Sets a variable for the runs to come.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let value = value.replace("[HOME]", self.path().to_str().unwrap());
        self.variables.push((name.to_owned(), value));
    }

    /// Writes a file under the home directory.
    pub(crate) fn write(&self, path: &str, text: &str) {
        fs_err::write(self.path().join(path), text).unwrap();
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test, cleared and captured"
    )]
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bhatti"));
        command
            .args(args.iter().map(OsStr::new))
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if args.first() == Some(&"serve") {
            // A pool would stay mounted when the test and its directory are gone.
            command.env("BHATTI_STORAGE", "plain");
        }
        command
    }

    /// Starts the program with pipes on its streams.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs the program with bytes on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut child = self.spawn(args);
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_owned();
        // Written on the side, for the program may write before it reads. One that reads nothing
        // makes this fail, as it may.
        let writer = std::thread::spawn(move || {
            let _ = pipe.write_all(&stdin);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs the program without standard input.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"")
    }

    /// A run as a reader would see it: the call, the exit code, both streams.
    pub(crate) fn transcript(&self, args: &[&str]) -> String {
        self.show(args, &self.run(args))
    }

    /// A finished run as a reader would see it.
    pub(crate) fn show(&self, args: &[&str], output: &Output) -> String {
        let mut text = format!(
            "$ bhatti {}\n",
            args.iter().map(quoted).collect::<Vec<_>>().join(" ")
        );
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            text.push_str(format!("2| {line}").trim_end());
            text.push('\n');
        }
        let end = match output.status.code() {
            Some(0) => String::new(),
            Some(code) => format!("[exit {code}]\n"),
            None => format!("[{}]\n", output.status),
        };
        (text + &end).replace(self.path().to_str().unwrap(), "[HOME]")
    }
}

fn quoted(arg: &&str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        (*arg).to_owned()
    } else {
        format!("{arg:?}")
    }
}
