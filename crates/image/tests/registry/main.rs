//! Pulls, pushes and archives, against a real registry and the tools that others use.

mod archive;
mod pull;
mod push;
mod support;
