//! When something in the guest next wants to run.
//!
//! A machine that sleeps runs nothing, so the daemon asks before, and may wake it in time. Only
//! what goes by the wall clock counts: whatever counts running time stands still with the machine
//! and is not late when it wakes.
//!
//! | module | does |
//! |---|---|
//! | [`look`] | asks all of the following and gives the earliest |
//! | [`daemons`] | which of the daemons run: nothing counts whose daemon does not |
//! | [`cron`] | finds the tables of a cron daemon |
//! | [`crontab`] | reads their lines |
//! | [`schedule`] | the five fields: which minutes of local time |
//! | [`search`] | the instant at which the next of them comes, where clocks jump too |
//! | [`zone`] | time zones from the guest's files |
//! | [`at`] | the jobs of `at` |
//! | [`systemd`] | the timers of systemd |
//! | [`found`] | keeps the earliest |
//! | [`files`] | reads what may be anything |

mod at;
mod cron;
mod crontab;
mod daemons;
mod files;
mod found;
pub(crate) mod look;
mod schedule;
mod search;
mod systemd;
mod zone;
