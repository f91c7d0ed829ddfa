//! The API as its clients see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod bad_calls;
mod images;
mod routes;
mod serve;
mod support;
