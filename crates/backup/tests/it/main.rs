//! Backups to a directory and to a real S3-compatible server, and what can go wrong with either.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod disk;
mod files;
mod s3;
