//! Runs a host program to its end: argument vector, cleared environment, time limit, captured
//! output. Never through a shell.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

/// The search path given to every program.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Time limit of a program that sets none.
const DEFAULT_LIMIT: Duration = Duration::from_mins(1);

/// How much of a failed program's standard error is kept for the log, in bytes.
const STDERR_KEPT: usize = 4096;

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed, or not where it was looked for.
    #[error("program {program:?} was not found")]
    NotFound {
        /// What was looked for.
        program: String,
    },
    /// It could not be started.
    #[error("failed to start {program:?}")]
    Start {
        /// What was to be started.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It was still running when its time was up, and was ended.
    #[error("{program:?} did not finish in {limit:?}")]
    Timeout {
        /// What was running.
        program: String,
        /// The time it had.
        limit: Duration,
    },
    /// It ended with an error.
    #[error("{program:?} failed ({status}): {stderr}")]
    Failed {
        /// What was running.
        program: String,
        /// How it ended, such as `exit status: 1`.
        status: String,
        /// The end of what it wrote to standard error, for the log.
        stderr: String,
    },
}

/// What a program wrote.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A program to be run.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    input: Option<Vec<u8>>,
    limit: Duration,
    also_good: Vec<i32>,
    quiet: bool,
}

impl Command {
    /// Names the program: a name looked up on [`PATH`], or a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            input: None,
            limit: DEFAULT_LIMIT,
            also_good: Vec::new(),
            quiet: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable to the otherwise empty environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives it something to read on standard input, which is empty otherwise.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Sets the time limit; 60 s if not called.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Takes an exit code as success besides 0.
    pub fn also_good(mut self, code: i32) -> Self {
        self.also_good.push(code);
        self
    }

    /// Keeps nothing of its output: for a program that says as much as its input has it say.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs the program and waits for its end. Dropping the future ends the program.
    pub async fn run(self) -> Result<Output, CommandError> {
        let program = self.program.to_string_lossy().into_owned();
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(match self.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(if self.quiet {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stderr(if self.quiet {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .kill_on_drop(true);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => CommandError::NotFound {
                program: program.clone(),
            },
            _ => CommandError::Start {
                program: program.clone(),
                source,
            },
        })?;
        let stdin = child.stdin.take();
        let input = self.input.unwrap_or_default();
        // Beside the reading: it may write before it has read all.
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading tells by how it ends.
                let _ = stdin.write_all(&input).await;
            }
        };
        let run = async { tokio::join!(child.wait_with_output(), feed).0 };
        let output = match tokio::time::timeout(self.limit, run).await {
            Err(_) => {
                return Err(CommandError::Timeout {
                    program,
                    limit: self.limit,
                });
            }
            Ok(Err(source)) => return Err(CommandError::Start { program, source }),
            Ok(Ok(output)) => output,
        };
        let code = output.status.code();
        if code.is_some_and(|code| code == 0 || self.also_good.contains(&code)) {
            Ok(Output {
                stdout: output.stdout,
                stderr: output.stderr,
            })
        } else {
            let from = output.stderr.len().saturating_sub(STDERR_KEPT);
            Err(CommandError::Failed {
                program,
                status: output.status.to_string(),
                stderr: String::from_utf8_lossy(&output.stderr[from..])
                    .trim()
                    .to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::{Command, CommandError};

    #[tokio::test]
    async fn the_environment_is_not_inherited() {
        let output = Command::new("env").env("A", "1").run().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "LC_ALL", "PATH"]);
    }

    #[tokio::test]
    async fn a_program_reads_what_it_is_given_and_else_nothing() {
        let long = "x".repeat(1 << 20);
        let read = Command::new("wc")
            .arg("-c")
            .input(long)
            .run()
            .await
            .unwrap();
        assert_eq!(read.stdout, b"1048576\n");
        let nothing = Command::new("wc").arg("-c").run().await.unwrap();
        assert_eq!(nothing.stdout, b"0\n");
    }

    #[tokio::test]
    async fn each_way_to_fail_has_its_error() {
        let missing = Command::new("no-such-program-here")
            .run()
            .await
            .unwrap_err();
        assert!(matches!(missing, CommandError::NotFound { .. }));
        let failed = Command::new("ls")
            .arg("/no/such/dir")
            .run()
            .await
            .unwrap_err();
        assert!(failed.to_string().contains("/no/such/dir"), "{failed}");
        let good = Command::new("ls").arg("/no/such/dir").also_good(2).quiet();
        assert!(good.run().await.unwrap().stderr.is_empty());
        let slow = Command::new("sleep")
            .arg("60")
            .limit(Duration::from_millis(50));
        assert!(matches!(
            slow.run().await.unwrap_err(),
            CommandError::Timeout { .. }
        ));
    }
}
