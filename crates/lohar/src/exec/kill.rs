//! Ending a command with all of its own.

use std::fs;

use crate::sys;

/// Rounds of looking for processes of a session. A process that forks while the list is read may
/// be missed by one round; one that does so all the time is caught by its parent's end.
const ROUNDS: usize = 8;

/// Kills the process group of a command and every process of its session.
///
/// A process that has made itself a session of its own has left the command and is not found.
pub(crate) fn session(leader: u32) {
    sys::kill_group(leader, libc::SIGKILL);
    for _ in 0..ROUNDS {
        let members = members(leader);
        if members.is_empty() {
            return;
        }
        for pid in members {
            sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// The living processes of a session.
fn members(session: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| session_of(*pid) == Some(session))
        .collect()
}

/// When a process was started, as `/proc/PID/stat` has it: with the process id it tells this one
/// from all others of the boot. `None` if there is none.
pub(crate) fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    // The 22nd field of the line; the first after the name is the third.
    rest.split_whitespace().nth(19).map(str::to_owned)
}

fn session_of(pid: u32) -> Option<u32> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The session in a line of `/proc/PID/stat` (`proc_pid_stat(5)`); `None` for a zombie.
fn parse(stat: &str) -> Option<u32> {
    // The name is in parentheses and may hold anything, parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(session)
}

#[cfg(test)]
mod test {
    use super::parse;

    #[test]
    fn the_session_is_found_behind_any_name() {
        assert_eq!(parse("12 (a) S 3) Z (b) S 1 11 10 0 -1 4194560"), Some(10));
        assert_eq!(parse("12 (sh) Z 1 11 10 0 -1 4194560"), None);
        assert_eq!(parse("12 (sh"), None);
    }
}
