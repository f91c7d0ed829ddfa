//! `postgres`: a database whose clients' transactions go on in every copy of the machine.

use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;

use crate::machine::{Machine, START_LIMIT, sh};

/// Begins a session of `psql` that reads what is written to a pipe, and a holder of the pipe.
const SESSION: &str = "mkfifo in && (setsid sleep infinity > in &) && \
                       (setsid psql -qAtX < in > out 2>&1 &) && echo begun";

/// Has the session do something, and waits for what it says in the end.
async fn say(guest: &Guest, sql: &str, mark: &str) -> Vec<String> {
    let line = format!("cat > in <<'END'\n{sql}\nselect '{mark}';\nEND");
    sh(guest, &line).await;
    wait_for(mark, START_LIMIT, async || {
        let told = sh(guest, "cat out").await;
        let lines: Vec<_> = told.lines().map(str::to_owned).collect();
        match lines.iter().position(|line| line == mark) {
            Some(at) => Ok(lines[..at].to_vec()),
            None => Err(told),
        }
    })
    .await
}

/// What anybody else sees in the table.
async fn rows(guest: &Guest) -> String {
    sh(
        guest,
        "psql -qAtX -c \"select string_agg(n::text, ' ' order by n) from entries\"",
    )
    .await
}

#[tokio::test]
async fn a_transaction_goes_on_in_each_copy_of_the_machine() {
    let machine = Machine::start("postgres", 512).await;
    let guest = &machine.guest;
    guest.sh("pg_ctlcluster 15 main start").await;
    machine
        .sh("psql -qX -c 'create table entries (n int primary key)' -c 'insert into entries values (1)'")
        .await;
    assert_eq!(
        machine.sh("psql -qAtX -c 'show server_encoding'").await,
        "UTF8"
    );

    assert_eq!(machine.sh(SESSION).await, "begun");
    let begun = say(
        guest,
        "begin; insert into entries values (2); select pg_backend_pid();",
        "open",
    )
    .await;
    let [backend] = &begun[..] else {
        panic!("{begun:?}");
    };
    assert_eq!(rows(guest).await, "1");

    // A checkpoint of it running, a copy, and itself put to sleep, all in mid-transaction.
    let daemon = &machine.daemon;
    guest
        .checkpoint("mid")
        .await
        .expect("a checkpoint is taken");
    daemon
        .cli(&["fork", "postgres", "--name", "copy"])
        .await
        .success();
    machine.sleep().await;
    let copy = Guest::new(daemon.client(), "copy");
    let resumed = Guest::resume(daemon.client(), "mid", "resumed")
        .await
        .expect("a checkpoint is resumed");

    let ends = [
        (guest, "insert into entries values (10); commit;", "1 2 10"),
        (&copy, "rollback;", "1"),
        (
            &resumed,
            "insert into entries values (20); commit;",
            "1 2 20",
        ),
    ];
    for (guest, end, left) in ends {
        assert_eq!(rows(guest).await, "1", "{}", guest.name());
        let told = say(
            guest,
            &format!("select pg_backend_pid(), count(*) from entries; {end}"),
            "done",
        )
        .await;
        let last = told.last().map(String::as_str);
        assert_eq!(last, Some(format!("{backend}|2").as_str()), "{told:?}");
        assert_eq!(rows(guest).await, left, "{}", guest.name());
    }

    // What was committed is on disk: it is there after a cut of the power, too.
    guest.end().await;
    guest.sh("pg_ctlcluster 15 main start").await;
    assert_eq!(rows(guest).await, "1 2 10");
}
