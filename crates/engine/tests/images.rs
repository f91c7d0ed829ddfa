//! Images of sandboxes' disks, on a fake VMM.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail the test"
)]

use std::sync::Arc;

use bhatti_engine::config::{AcceleratorChoice, EngineConfig};
use bhatti_engine::engine::Engine;
use bhatti_engine::error::Error;
use bhatti_engine::request::{Caller, ImagePlace, NewExec, NewSandbox};
use bhatti_engine::view::{ImageView, SandboxView};
use bhatti_guest::exec::{ExecEvent, ExitStatus};
use bhatti_testing::fake_vmm::host::FakeHost;
use bhatti_testing::fake_vmm::stage;
use bhatti_types::env::Env;
use bhatti_types::size::MemoryMb;

/// A daemon on a host of its own.
struct Stage {
    engine: Engine,
    caller: Caller,
    host: FakeHost,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        stage::install(dir.path());
        let host = FakeHost::default();
        let config = EngineConfig {
            accelerator: AcceleratorChoice::Tcg,
            ..EngineConfig::new(dir.path().to_owned())
        };
        let engine = Engine::open_with(config, Arc::new(host.clone()))
            .await
            .unwrap();
        Self {
            caller: engine.local_admin(),
            engine,
            host,
            dir,
        }
    }

    async fn create(&self, name: &str, image: &str) -> SandboxView {
        let new = NewSandbox {
            name: Some(name.parse().unwrap()),
            image: Some(image.parse().unwrap()),
            memory: MemoryMb::MIN,
            env: Env::new([("WHO".to_owned(), "me".to_owned())].into()).unwrap(),
            ..NewSandbox::default()
        };
        let made = self.engine.sandbox_create(&self.caller, new).await;
        made.unwrap().sandbox
    }

    async fn save(&self, sandbox: &str, image: &str) -> Result<ImageView, Error> {
        let name = image.parse().unwrap();
        let place = ImagePlace::Own;
        self.engine
            .image_save(&self.caller, sandbox, place, name)
            .await
    }

    /// Runs one of the fake guest's commands.
    async fn say(&self, sandbox: &str, script: &str) -> String {
        let exec = NewExec {
            argv: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            env: Env::default(),
            workdir: None,
            user: None,
            timeout: None,
            stdin: false,
        };
        let started = self.engine.exec(&self.caller, sandbox, exec).await;
        let (mut exec, _lease) = started.unwrap();
        let mut printed = Vec::new();
        loop {
            match exec.output.next().await.unwrap() {
                Some(ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) => printed.extend(bytes),
                Some(ExecEvent::Exit(status)) => {
                    assert_eq!(status, ExitStatus::Code(0), "{script}");
                    return String::from_utf8(printed).unwrap();
                }
                None => panic!("{script} broke off"),
            }
        }
    }

    /// The number on a sandbox's disk.
    async fn disk(&self, sandbox: &str) -> String {
        let said = self.say(sandbox, "read").await;
        said.split(' ').nth(2).unwrap().to_owned()
    }

    /// What is in the directory of images, hidden things too.
    fn left(&self) -> Vec<String> {
        let own = self.dir.path().join("images/@usr_00000000");
        let entries = fs_err::read_dir(own).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn end(self) {
        self.engine.close().await;
        assert_eq!(self.host.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_running_machine_is_frozen_for_its_image_and_goes_on() {
    let stage = Stage::start().await;
    let dev = stage.create("dev", "base").await;
    stage.say("dev", "store 7").await;
    let image = stage.save("dev", "stack:1").await.unwrap();
    let guest = stage.host.guest(&dev.id).unwrap();
    assert_eq!((guest.freezes(), guest.is_frozen()), (1, false));
    assert_eq!(image.source, "sandbox:dev");
    assert!(image.digest.starts_with("blake3:"), "{}", image.digest);
    assert_eq!(image.config.env.as_map()["WHO"], "me");
    stage.say("dev", "store 8").await;

    stage.create("copy", "stack:1").await;
    assert_eq!(stage.disk("copy").await, "7");
    assert_eq!(stage.disk("dev").await, "8");
    // The name is taken now, and the image is not touched.
    let refused = stage.save("dev", "stack:1").await.unwrap_err();
    assert!(matches!(refused, Error::Exists { .. }), "{refused}");
    assert_eq!(guest.freezes(), 1);
    assert_eq!(stage.left(), ["stack:1"]);
    stage.end().await;
}

#[tokio::test]
async fn a_machine_that_sleeps_is_not_woken_for_its_image() {
    let stage = Stage::start().await;
    let dev = stage.create("dev", "base").await;
    stage.say("dev", "store 7").await;
    stage
        .engine
        .sandbox_stop(&stage.caller, "dev")
        .await
        .unwrap();
    let launches = stage.host.launches();
    stage.save("dev", "stack").await.unwrap();
    assert_eq!(stage.host.launches(), launches);
    assert!(stage.host.guest(&dev.id).is_none());
    stage.create("copy", "stack").await;
    assert_eq!(stage.disk("copy").await, "7");
    stage.end().await;
}

#[tokio::test]
async fn a_guest_that_cannot_be_frozen_stands_still_instead() {
    let stage = Stage::start().await;
    let dev = stage.create("dev", "base").await;
    let guest = stage.host.guest(&dev.id).unwrap();
    guest.refuse_freeze(true);
    stage.say("dev", "store 7").await;
    stage.save("dev", "stack").await.unwrap();
    assert!(guest.syncs() > 0);
    stage.say("dev", "store 8").await;
    stage.create("copy", "stack").await;
    assert_eq!(stage.disk("copy").await, "7");
    stage.end().await;
}

#[tokio::test]
async fn an_image_is_deleted_with_its_templates_and_its_sandboxes_go_on() {
    let stage = Stage::start().await;
    stage.create("dev", "base").await;
    stage.say("dev", "store 7").await;
    stage.save("dev", "stack").await.unwrap();
    stage.create("copy", "stack").await;
    let templates = stage.engine.template_list(&stage.caller).await.unwrap();
    let name = "stack".parse().unwrap();
    let of_it = templates.iter().filter(|view| view.image == name).count();
    assert_eq!(of_it, 1);
    let deleted = stage
        .engine
        .image_delete(&stage.caller, &name)
        .await
        .unwrap();
    assert_eq!(deleted.templates, 1);
    assert_eq!(deleted.sandboxes, ["copy".parse().unwrap()]);
    assert_eq!(stage.disk("copy").await, "7");
    assert_eq!(stage.left(), Vec::<String>::new());
    let new = NewSandbox {
        image: Some(name),
        ..NewSandbox::default()
    };
    let refused = stage.engine.sandbox_create(&stage.caller, new).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    stage.end().await;
}
