//! Images of others: references, registries, archives.
//!
//! | to do this | open |
//! |---|---|
//! | say which image is meant | [`reference`], [`platform`] |
//! | read what an image is | [`manifest`], [`config`] |
//! | speak to a registry | [`http`], [`registry`], [`credentials`] |
//! | find out what a reference means now | [`resolve`] |
//! | find a user's credentials | [`auth_files`] |
//! | send an image to a registry | [`push`](mod@push) |
//! | fetch an image's layers | [`pull`](mod@pull), [`blobs`] |
//! | read and write archives | [`archive`] |
//! | know what can go wrong | [`error`] |
//!
//! All of it is written by strangers; [`limits`] says how much is taken.
//!
//! The client is our own, thin over an HTTP client, because it has to hold every reply to a
//! bound, to go on with a blob where it broke off and see that the reply is that part, to send
//! credentials to the registry and its token server alone, and never to leave HTTPS unasked.

pub mod archive;
pub mod auth_files;
pub mod blobs;
mod challenge;
pub mod config;
pub mod credentials;
pub mod error;
pub mod http;
pub mod limits;
pub mod manifest;
pub mod platform;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod resolve;
