//! Images built from a directory with a Containerfile, in a machine that has Buildah.
//!
//! | module | does |
//! |---|---|
//! | [`ignore`] | reads `.dockerignore` |
//! | [`context`] | sends the directory |
//! | [`from`] | finds the images that a Containerfile begins with |
//! | [`builder`] | the machine, and what runs in it |
//!
//! One command in the machine does it all: the directory is its standard input, what the build
//! says its standard error, and the image its standard output. So whatever ends the command ends
//! the build, and nothing of it has to be looked for afterwards.

pub(crate) mod builder;
pub(crate) mod context;
pub(crate) mod from;
pub(crate) mod ignore;
