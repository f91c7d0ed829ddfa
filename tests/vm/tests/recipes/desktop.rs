//! `desktop`: a screen that is seen and typed on by VNC.

use bhatti_testing::wait::wait_for;

use crate::machine::{Machine, START_LIMIT, artifact};
use crate::vnc::Vnc;

/// The port of noVNC.
const PORT: u16 = 6080;
/// The colour of the background.
const BACKGROUND: [u8; 3] = [0x2e, 0x34, 0x40];

#[tokio::test]
async fn a_desktop_is_seen_and_typed_on() {
    let machine = Machine::start("desktop", 512).await;
    machine.spawn(None, &["desktop"]).await;
    // The page that shows it in a browser.
    machine
        .wait_for("curl -sf http://127.0.0.1:6080/vnc.html | grep -q noVNC")
        .await;
    machine.wait_for("pgrep -x xterm && pgrep -x openbox").await;

    let mut vnc = Vnc::connect(&machine.guest, PORT).await;
    let picture = wait_for("windows", START_LIMIT, async || {
        let picture = vnc.picture().await;
        let colours = picture.colours();
        let covered = picture.pixels.iter().filter(|it| **it != BACKGROUND);
        let covered = covered.count() * 100 / picture.pixels.len();
        // The background, frames, and letters with edges. The pointer alone has as many colours,
        // and keys that come before there is a terminal are lost: its window covers a good part.
        if picture.pixels.contains(&BACKGROUND) && colours > 16 && covered > 10 {
            Ok(picture)
        } else {
            fs_err::write(artifact("desktop.png"), picture.to_png())
                .map_err(|e| (0, 0, Some(e)))?;
            Err((colours, covered, None))
        }
    })
    .await;
    fs_err::write(artifact("desktop.png"), picture.to_png()).expect("the picture is kept");
    assert_eq!((picture.width, picture.height), (1280, 800));

    // The terminal takes keys, before a sleep and after it.
    vnc.type_line("touch one").await;
    machine.wait_for("test -e one || test -e ~/one").await;
    drop(vnc);
    machine.sleep().await;
    let mut vnc = Vnc::connect(&machine.guest, PORT).await;
    vnc.type_line("touch two").await;
    machine.wait_for("test -e two || test -e ~/two").await;
}
