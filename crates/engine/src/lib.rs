//! The application: what a caller asks for, as workflows over one task per sandbox.
//!
//! Entry is [`engine::Engine::open`]; each of its methods is one request of a user.
//!
//! ```text
//! Engine (facade) ──► sandbox::actor, one task per sandbox ──► sandbox::work, one step at a time
//!     │                     decides with bhatti_lifecycle            │
//!     ├── users, images     publishes (generation, view)             ├── bhatti_vmm, bhatti_guest
//!     ├── templates, which creates are forked from                   │
//!     └── recovery, once at the start                                └── checkpoint, bhatti_host
//! ```

pub mod accelerator;
mod admission;
pub mod bases;
pub mod checkpoint;
mod clock;
mod commands;
pub mod config;
mod context;
mod create;
pub mod engine;
pub mod error;
pub mod fault;
mod fork;
mod idle_view;
pub mod images;
pub mod layout;
mod naming;
mod network;
mod policies;
mod program;
mod recovery;
pub mod request;
mod resume;
mod rollback;
mod sandbox;
mod sandboxes;
mod services;
mod snapshots;
mod storage;
pub mod tasks;
pub mod templates;
pub mod terminals;
mod tree;
mod users;
pub mod view;
mod volumes;

/// What the program is that the engine starts to read layers of images in.
pub use bhatti_image::convert::{options::WORKER_ARG, worker::main as image_worker};
