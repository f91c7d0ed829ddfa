//! Which handler does which operation.

use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, patch, post};
use bhatti_api::routes::{Method, Operation};

use crate::app::App;
use crate::routes::{
    backups, exec, host, images, logs, sandboxes, shell, snapshots, tasks, templates, tree, users,
    volumes,
};

/// The handler of a row of the table of routes.
pub(crate) fn handler(method: Method, operation: Operation) -> MethodRouter<App> {
    match operation {
        Operation::Health => on(method, host::health),
        Operation::Version => on(method, host::version),
        Operation::SandboxList => on(method, sandboxes::list),
        Operation::SandboxCreate => on(method, sandboxes::create),
        Operation::SandboxGet => on(method, sandboxes::show),
        Operation::SandboxDestroy => on(method, sandboxes::destroy),
        Operation::SandboxEdit => on(method, sandboxes::edit),
        Operation::SandboxPause => on(method, sandboxes::pause),
        Operation::SandboxStop => on(method, sandboxes::stop),
        Operation::SandboxStart => on(method, sandboxes::start),
        Operation::SandboxExec => on(method, exec::run),
        Operation::SandboxExecWs => on(method, exec::run_on_websocket),
        Operation::SandboxLogs => on(method, logs::show),
        Operation::SandboxShell => on(method, shell::attach),
        Operation::SandboxSessions => on(method, shell::sessions),
        Operation::SandboxCheckpoint => on(method, sandboxes::checkpoint),
        Operation::SandboxFork => on(method, sandboxes::fork),
        Operation::SandboxRollback => on(method, sandboxes::rollback),
        Operation::SnapshotList => on(method, snapshots::list),
        Operation::SnapshotGet => on(method, snapshots::show),
        Operation::SnapshotDelete => on(method, snapshots::remove),
        Operation::SnapshotResume => on(method, snapshots::resume),
        Operation::Tree => on(method, tree::show),
        Operation::ImageList => on(method, images::list),
        Operation::ImagePull => on(method, images::pull),
        Operation::ImageImport => on(method, images::import),
        Operation::SandboxSaveImage => on(method, images::save),
        Operation::ImageGet => on(method, images::show),
        Operation::ImageDelete => on(method, images::remove),
        Operation::ImageExport => on(method, images::export),
        Operation::ImagePush => on(method, images::push),
        Operation::ImageShare => on(method, images::share),
        Operation::ImageUnshare => on(method, images::unshare),
        Operation::TaskList => on(method, tasks::list),
        Operation::TaskGet => on(method, tasks::show),
        Operation::TaskCancel => on(method, tasks::cancel),
        Operation::CollectGarbage => on(method, tasks::gc),
        Operation::ImageWarm => on(method, templates::warm),
        Operation::TemplateList => on(method, templates::list),
        Operation::TemplateDelete => on(method, templates::remove),
        Operation::VolumeList => on(method, volumes::list),
        Operation::VolumeCreate => on(method, volumes::create),
        Operation::VolumeGet => on(method, volumes::show),
        Operation::VolumeDelete => on(method, volumes::remove),
        Operation::VolumeResize => on(method, volumes::resize),
        Operation::VolumeClone => on(method, volumes::clone),
        Operation::VolumeAttach => on(method, volumes::attach),
        Operation::VolumeDetach => on(method, volumes::detach),
        Operation::BackupList => on(method, backups::list),
        Operation::BackupCreate => on(method, backups::create),
        Operation::BackupRestore => on(method, backups::restore),
        Operation::BackupDelete => on(method, backups::remove),
        Operation::UserList => on(method, users::list),
        Operation::UserCreate => on(method, users::create),
        Operation::UserGet => on(method, users::show),
        Operation::UserEdit => on(method, users::edit),
        Operation::UserDelete => on(method, users::remove),
        Operation::UserRotateKey => on(method, users::rotate_key),
        Operation::SleepAll => on(method, host::sleep_all),
    }
}

fn on<H: Handler<T, App>, T: 'static>(method: Method, handler: H) -> MethodRouter<App> {
    match method {
        Method::Get => get(handler),
        Method::Post => post(handler),
        Method::Patch => patch(handler),
        Method::Delete => delete(handler),
    }
}
