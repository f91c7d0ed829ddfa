//! The rules of a sandbox's life, as pure functions: no I/O, no clock, no tokio.
//!
//! | question | answer |
//! |---|---|
//! | may this request be done in this state, and how? | [`decide::decide`] |
//! | what are the steps, and how is each undone? | [`plan`] |
//! | what is to be done about what a dead daemon left behind? | [`repair::plan_repairs`] |
//! | when is it paused, and when does it go to disk? | [`idle`] |
//! | is this within the user's limits? | [`limits`] |
//! | when is something due that is done again and again? | [`schedule`] |
//! | who descends from whom? | [`tree::forest`] |

pub mod decide;
pub mod idle;
pub mod limits;
pub mod plan;
pub mod repair;
pub mod schedule;
pub mod state;
pub mod tree;
