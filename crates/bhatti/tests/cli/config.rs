//! `bhatti config`.

use crate::fixture::Home;

#[test]
fn each_value_is_shown_with_its_origin() {
    let mut home = Home::new();
    home.write(
        "system.yaml",
        "listen: 0.0.0.0:80\nqemu: /opt/qemu\nauth_token: bht_system\n",
    );
    home.write(
        ".bhatti/config.yaml",
        "auth_token: bht_mine\nrate_limit: false\nlisten: ''\n",
    );
    home.set("BHATTI_DATA_DIR", "[HOME]/data");
    let mut text = home.transcript(&["config", "show", "--url", "http://localhost:1"]);
    text.push_str(&home.transcript(&["config", "show", "--json"]));
    insta::assert_snapshot!(text);
}

#[test]
fn a_named_file_is_read_in_place_of_the_two() {
    let mut home = Home::new();
    home.write("system.yaml", "qemu: /opt/qemu\n");
    home.write(".bhatti/config.yaml", "listen: 0.0.0.0:80\n");
    home.write("other.yaml", "log_level: debug\n");
    home.set("BHATTI_CONFIG", "[HOME]/other.yaml");
    insta::assert_snapshot!(home.transcript(&["config", "show"]));
}
