//! The application: what a caller asks for, as workflows over one task per sandbox.
//!
//! Entry is [`engine::Engine::open`]; each of its methods is one request of a user.

pub mod config;
pub mod engine;
pub mod error;
pub mod request;
pub mod view;
