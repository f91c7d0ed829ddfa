//! The calls that have one answer.

use bhatti_guest::agent::NextTimer;
use bhatti_guest::identity::{Card, Identity};
use bhatti_guest::link::{CallError, RefusedKind};
use bhatti_proto::message::NextTimerReply;
use bhatti_types::env::Env;
use bhatti_types::mac::Mac;
use std::net::Ipv4Addr;

use crate::fixture::{Guest, Ran, SOON, shell};

#[tokio::test]
async fn the_agent_says_what_it_is_and_how_it_goes() {
    let guest = Guest::start().await;
    let info = guest.link.agent();
    assert_eq!((info.protocol, info.version.as_str()), (1, "0.1.0"));
    assert!(!info.kernel.is_empty() && !info.boot_id.is_empty());
    guest.link.ping(SOON).await.unwrap();
    let status = guest.link.status(SOON).await.unwrap();
    assert_eq!((status.running, status.generation), (0, 0));
    assert!(status.streams >= 1 && status.rss_bytes > 0);
}

#[tokio::test]
async fn an_identity_arrives_whole_and_its_defaults_hold_for_commands() {
    let guest = Guest::start().await;
    let vars = [("WHO".to_owned(), "me".to_owned())].into();
    let identity = Identity {
        hostname: "dev".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        entropy: vec![1; 64],
        unix_nanos: Some(1_700_000_000_000_000_000),
        env: Env::new(vars).unwrap(),
        user: Some("daemon".into()),
        cwd: Some("/usr".into()),
        grow_root: true,
        fresh: true,
        card: Some(Card {
            mac: Mac::of(Ipv4Addr::new(10, 83, 0, 2)),
            address: Ipv4Addr::new(10, 83, 0, 2),
            prefix: 21,
            gateway: Ipv4Addr::new(10, 83, 0, 1),
            mtu: 1400,
            dns: Ipv4Addr::new(10, 83, 0, 1),
        }),
        service: None,
    };
    guest.link.identity(&identity, SOON).await.unwrap();
    let [taken] = &guest.system.identities()[..] else {
        panic!("exactly one identity is taken");
    };
    assert_eq!(taken.hostname, "dev");
    assert_eq!(&taken.entropy[..], [1; 64]);
    assert!(taken.grow_root && taken.fresh);
    let card = taken.card.as_ref().unwrap();
    assert_eq!(&card.mac[..], [0x0a, 0xb7, 10, 83, 0, 2]);
    assert_eq!(
        (card.address, card.prefix, card.mtu),
        (0x0a53_0002, 21, 1400)
    );
    assert_eq!(
        (card.gateway, &card.dns[..]),
        (0x0a53_0001, &[0x0a53_0001][..])
    );
    let ran = guest.shell("echo $WHO; id -un; pwd").await;
    assert_eq!(ran.text(), "me\ndaemon\n/usr");
    let command = bhatti_guest::exec::Command {
        user: Some("root".into()),
        ..shell("id -un")
    };
    let ran = Ran::of(guest.link.exec(&command).await.unwrap()).await;
    assert_eq!(ran.text(), "root");
    assert_eq!(guest.link.status(SOON).await.unwrap().generation, 1);
}

#[tokio::test]
async fn an_identity_that_cannot_be_taken_is_an_error_with_its_reason() {
    let guest = Guest::start().await;
    guest.system.refuse_identity(true);
    let error = guest
        .link
        .identity(&Identity::default(), SOON)
        .await
        .unwrap_err();
    let CallError::Refused {
        kind: RefusedKind::Failed,
        message,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(message, "failed to set the host name: permission denied");
    assert_eq!(guest.link.status(SOON).await.unwrap().generation, 0);
}

#[tokio::test]
async fn disks_are_flushed_and_the_power_goes_off_after_the_answer() {
    let guest = Guest::start().await;
    guest.link.sync(SOON).await.unwrap();
    assert_eq!(guest.system.syncs(), 1);
    guest.link.power_off(SOON).await.unwrap();
    tokio::time::timeout(SOON, guest.system.powered_off())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_clock_is_set_without_another_identity() {
    let guest = Guest::start().await;
    let now = 1_800_000_000_000_000_000;
    guest.link.set_clock(now, SOON).await.unwrap();
    assert_eq!(guest.system.clock(), Some(now));
    assert_eq!(guest.link.status(SOON).await.unwrap().generation, 0);
}

#[tokio::test]
async fn the_next_timer_is_told_and_its_name_cannot_steer_a_terminal() {
    let guest = Guest::start().await;
    assert_eq!(guest.link.next_timer(SOON).await.unwrap(), None);
    guest.system.set_next_timer(NextTimerReply {
        unix_nanos: Some(1_800_000_000_000_000_000),
        what: "at job\x1b[2J\n3".into(),
    });
    let next = guest.link.next_timer(SOON).await.unwrap();
    let wanted = NextTimer {
        unix_nanos: 1_800_000_000_000_000_000,
        what: "at job\u{fffd}[2J\u{fffd}3".into(),
    };
    assert_eq!(next, Some(wanted));
}

#[tokio::test]
async fn the_disk_is_frozen_until_it_is_thawed_and_who_thaws_too_late_is_told() {
    let guest = Guest::start().await;
    guest.link.freeze(SOON, SOON).await.unwrap();
    assert!(guest.system.is_frozen());
    // The agent goes on meanwhile, and so do commands that write nothing.
    assert_eq!(guest.shell("echo there").await.text(), "there");
    let again = guest.link.freeze(SOON, SOON).await.unwrap_err();
    assert!(matches!(
        again,
        CallError::Refused {
            kind: RefusedKind::Failed,
            ..
        }
    ));
    guest.link.thaw(SOON).await.unwrap();
    assert!(!guest.system.is_frozen());
    let late = guest.link.thaw(SOON).await.unwrap_err();
    assert!(late.to_string().contains("not frozen"), "{late}");
}
