//! `builder`: images built from a directory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bhatti_host::command::Command;
use serde_json::Value;

use crate::machine::Machine;

/// A program that needs nothing else; Debian's package `busybox-static` has it.
const STATIC_PROGRAM: &str = "/bin/busybox";
/// Time for one build.
const LIMIT: Duration = Duration::from_mins(4);
/// Two stages, with all that changes what an image is.
const CONTAINERFILE: &str = r#"FROM scratch AS tools
COPY busybox /bin/busybox
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
RUN /bin/busybox date +%s%N > /made

FROM scratch
COPY --from=tools /bin /bin
COPY --from=tools /made /made
ARG WHO=nobody
ENV GREETING=hello
RUN echo "$GREETING $WHO" > /greeting
WORKDIR /app
COPY . .
USER 1000:1000
EXPOSE 80
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["/bin/busybox cat /greeting"]
"#;

/// What is told of an image archive by its own files.
struct Archive {
    dir: tempfile::TempDir,
}

impl Archive {
    async fn open(file: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let tar = Command::new("tar").arg("-xf").arg(file).arg("-C");
        let unpacked = tar.arg(dir.path()).run().await;
        unpacked.expect("the archive is unpacked");
        Self { dir }
    }

    fn json(&self, path: &str) -> Value {
        let text = fs_err::read(self.dir.path().join(path)).expect("it is in the archive");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    fn blob(&self, descriptor: &Value) -> String {
        let digest = descriptor["digest"].as_str().expect("a digest");
        format!("blobs/{}", digest.replace(':', "/"))
    }

    fn manifest(&self) -> Value {
        let index = self.json("index.json");
        self.json(&self.blob(&index["manifests"][0]))
    }

    fn config(&self) -> Value {
        self.json(&self.blob(&self.manifest()["config"]))
    }

    /// Unpacks all layers over one another.
    async fn tree(&self) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a temporary directory can be made");
        let layers = self.manifest()["layers"].clone();
        for layer in layers.as_array().expect("a list of layers") {
            let blob = self.dir.path().join(self.blob(layer));
            let tar = Command::new("tar").arg("-xf").arg(blob).arg("-C");
            let unpacked = tar.arg(tree.path()).run().await;
            unpacked.expect("a layer is unpacked");
        }
        tree
    }
}

fn write_directory(dir: &Path) {
    fs_err::create_dir_all(dir.join("src")).expect("a directory can be made");
    fs_err::copy(STATIC_PROGRAM, dir.join("busybox")).expect("the program is copied");
    for (name, text) in [
        ("Containerfile", CONTAINERFILE),
        (".dockerignore", "*.key\nsrc\n!src/main.c\n"),
        ("secret.key", "secret"),
        ("src/main.c", "int main;"),
        ("src/main.o", "object"),
    ] {
        fs_err::write(dir.join(name), text).expect("a file can be written");
    }
    let run = dir.join("run.sh");
    fs_err::write(&run, "#!/bin/sh\n").expect("a file can be written");
    fs_err::set_permissions(&run, std::fs::Permissions::from_mode(0o755))
        .expect("it is made executable");
}

#[tokio::test]
async fn a_directory_is_built_in_stages_and_the_second_time_from_the_cache() {
    if !Path::new(STATIC_PROGRAM).exists() {
        println!("skipped: needs the package busybox-static");
        return;
    }
    let machine = Machine::start("builder", 768).await;
    let daemon = &machine.daemon;
    let work = tempfile::tempdir().expect("a temporary directory can be made");
    let dir = work.path().join("app");
    write_directory(&dir);
    let (dir, text) = (dir.as_path(), |path: &Path| path.display().to_string());
    let build = async |to: &str, more: &[&str]| {
        let (dir, output) = (text(dir), text(&work.path().join(to)));
        let mut args = vec!["image", "build", dir.as_str(), "--output", output.as_str()];
        args.extend(more);
        let told = tokio::time::timeout(LIMIT, daemon.cli(&args)).await;
        told.expect("the build ends in time")
    };

    let told = build("one.tar", &["--build-arg", "WHO=world"]).await;
    let log = told.errors();
    assert!(told.success().starts_with("✓ built to "), "{log}");
    assert!(
        log.contains("STEP 1/") && !log.contains("Using cache"),
        "{log}"
    );
    let one = Archive::open(&work.path().join("one.tar")).await;
    let config = one.config();
    let run = &config["config"];
    assert_eq!(run["User"], "1000:1000");
    assert_eq!(run["WorkingDir"], "/app");
    assert_eq!(run["Entrypoint"], serde_json::json!(["/bin/sh", "-c"]));
    assert_eq!(
        run["Cmd"],
        serde_json::json!(["/bin/busybox cat /greeting"])
    );
    assert!(run["ExposedPorts"].get("80/tcp").is_some(), "{config}");
    let env = run["Env"].as_array().expect("an environment");
    assert!(env.iter().any(|one| one == "GREETING=hello"), "{config}");
    let tree = one.tree().await;
    let read = |path: &str| fs_err::read_to_string(tree.path().join(path));
    assert_eq!(read("greeting").expect("it was made"), "hello world\n");
    assert_eq!(read("app/src/main.c").expect("it was copied"), "int main;");
    for left_out in ["app/secret.key", "app/src/main.o"] {
        assert!(!tree.path().join(left_out).exists(), "{left_out}");
    }
    let mode = fs_err::metadata(tree.path().join("app/run.sh")).expect("it was copied");
    assert_eq!(mode.permissions().mode() & 0o777, 0o755);
    let made = read("made").expect("it was made");

    // The machine has slept meanwhile, and every step is known.
    machine.sleep().await;
    let told = build("two.tar", &["--build-arg", "WHO=world"]).await;
    let log = told.errors();
    told.success();
    assert!(log.matches("Using cache").count() >= 7, "{log}");
    let two = Archive::open(&work.path().join("two.tar")).await;
    let again = two.tree().await;
    assert_eq!(
        fs_err::read_to_string(again.path().join("made")).expect("it was made"),
        made
    );

    // Up to the first stage alone.
    let told = build("three.tar", &["--target", "tools"]).await;
    told.success();
    let three = Archive::open(&work.path().join("three.tar")).await;
    assert!(!three.tree().await.path().join("greeting").exists());

    // One that fails says so, and leaves no file; nor does any build leave one in the machine.
    let bad = "FROM scratch\nCOPY missing /\n";
    fs_err::write(dir.join("Containerfile"), bad).expect("a file can be written");
    let told = build("four.tar", &[]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.errors().contains("missing"), "{told:?}");
    assert!(
        told.errors().contains("error: the build failed"),
        "{told:?}"
    );
    assert!(!work.path().join("four.tar").exists());
    assert_eq!(machine.sh("ls -A /var/tmp").await, "");

    // Who gives up on a build ends it in the machine.
    let endless = "FROM scratch\nCOPY busybox /\nRUN [\"/busybox\", \"sleep\", \"1000\"]\n";
    fs_err::write(dir.join("Containerfile"), endless).expect("a file can be written");
    let (dir, output) = (text(dir), text(&work.path().join("five.tar")));
    let args = ["image", "build", dir.as_str(), "--output", output.as_str()];
    let mut child = daemon.cli_command(&args).spawn().expect("the build begins");
    machine.wait_for("pgrep -f '^/busybox sleep 1000'").await;
    let pid = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id as i32));
    let pid = pid.expect("the build goes on");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is signalled");
    let status = tokio::time::timeout(LIMIT, child.wait()).await;
    let status = status.expect("it ends").expect("it is waited for");
    assert_eq!(status.code(), Some(1));
    machine
        .wait_for("! pgrep -f '^/[b]usybox sleep|[b]uildah'")
        .await;
    machine.wait_for("test -z \"$(ls -A /var/tmp)\"").await;
    assert!(!work.path().join("five.tar").exists());
}
